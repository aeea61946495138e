"""Done clips, looked at once more: is all there that their files hold? Each is read from start to end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from vidray.errors import DecodeError
from vidray.media import AudioRequest, FrameRequest, Holding
from vidray.sandbox import Sandbox
from vidray.store import Store
from vidray.store.verify.findings import Check, Finding

_RATE = 16_000
_HEARD_S = 0.1
_LOUD, _SILENT = 0.01, 1e-3
_REMEDY = "see decode_warning of its rows; if nothing is said there, report the file"


def media_check(clips: int, *, seed: int = 0) -> Check:
    """A check of so many clips, drawn by a seed, from the videos that could be planned."""

    def check(store: Store, full: bool) -> Iterator[Finding]:
        rows = [row for part in store.parts("clips") for row in store.read("clips", part).to_pylist()]
        drawn = random.Random(seed).sample(rows, min(clips, len(rows)))
        differ = 0
        with closing(Sandbox()) as sandbox:
            for row in sorted(drawn, key=lambda row: (row["uri"], row["start_s"])):
                if (what := _unseen(sandbox, row)) is not None:
                    differ += 1
                    where = f"{row['uri']} [{row['start_s']:g}, {row['end_s']:g})"
                    yield Finding(where=where, what=what, remedy=_REMEDY, counts={"damaged": 1})
        yield Finding(where="media", what=f"{len(drawn) - differ:,} of {len(drawn):,} clips are seen and heard whole")

    return check


def _unseen(sandbox: Sandbox, row: dict[str, Any]) -> str | None:
    """What a clip's file holds that decoding it does not give; a clip that fails says so in its row."""
    uri, span = row["uri"], (row["start_s"], row["end_s"])
    try:
        held = sandbox.account(uri, *span)
    except DecodeError as e:
        return f"its file cannot be read any more: {e.message}"
    times_s = tuple(np.arange(span[0], span[1], 1.0).tolist())
    frames = FrameRequest(times_s=times_s, end_s=span[1])
    audio = AudioRequest(start_s=span[0], end_s=span[1], sample_rate=_RATE, channels="all")
    given = sandbox.read(uri, [frames, audio], *span, (0, 0))
    if given.warnings:
        return None
    return _difference(held, given.samples[frames], given.samples[audio])


def _difference(held: Holding, frames: Any, audio: Any) -> str | None:
    if held.frames and frames is None:
        return f"{held.frames} frames of it are not seen"
    if held.audio_s > _HEARD_S and audio is None:
        return f"{held.audio_s:.1f} s of its audio are not heard"
    is_heard = audio is not None and not isinstance(audio, DecodeError)
    if is_heard and held.peak > _LOUD and float(np.abs(audio.samples).max(initial=0.0)) < _SILENT:
        return f"its audio has a peak of {held.peak:.2f} and is heard as silence"
    return None
