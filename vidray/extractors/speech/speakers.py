"""Who speaks when over a whole video: turns with anonymous names, and the speaker of each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from vidray.errors import MissingExtraError, UsageError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.speech.transcript import clip_at
from vidray.extractors.speech.turns import Turn, Window, turns_of
from vidray.extractors.text.timed import texts_of, words_of
from vidray.media import ClipInput, Columns

NAME = "speakers"
VOICES = "voices"
EXTRA = "speakers"

TURNS_TYPE = pa.list_(
    pa.struct([pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64()), pa.field("speaker", pa.string())])
)
WORDS_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("word", pa.string()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("speaker", pa.string()),
        ]
    )
)
SPEAKERS_TYPE = pa.list_(
    pa.struct([pa.field("speaker", pa.string()), pa.field("seconds", pa.float64()), pa.field("turns", pa.int32())])
)


@dataclass(frozen=True, kw_only=True)
class Speakers:
    """Who speaks when in a video, as `speaker 1`, `speaker 2`, ... in the order in which they are first heard.

    The names are of one video: `speaker 1` of another is somebody else. A turn stands in the clip in which it starts,
    and may run past its end. Two voices at once are one, the louder.

    Attributes:
        of: A table with texts whose words are given their speakers; None for none.
        count: How many speakers each video has; None for as many as differ.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([("turns", TURNS_TYPE), ("words", WORDS_TYPE)])
    """The columns that it adds; `words` is null where no table of texts is named."""
    video_schema: ClassVar[pa.Schema] = pa.schema([("speaker_count", pa.int32()), ("speakers", SPEAKERS_TYPE)])
    """The columns of a video: how many speak, and how long each."""

    of: str | None = None
    count: int | None = None
    scope: ClassVar[Literal["video"]] = "video"

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UsageError(f"count must be at least 1, got {self.count}")

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Vectors of voices, and the words that are given speakers."""
        voices = {"voices": Columns(None, [VOICES], default=VOICES)}
        return voices if self.of is None else {**voices, "text": texts_of(self.of)}

    def load(self, device: str) -> ExtractFn:
        """Nothing to load. Raises MissingExtraError."""
        if find_spec("sklearn") is None:
            raise MissingExtraError(NAME, EXTRA)

        def extract(items: Sequence[ClipInput]) -> tuple[Answer, Answer]:
            turns = turns_of(_windows(items), count=self.count)
            clips = [item.clip for item in items]
            columns: dict[str, list[Any]] = {"turns": [[] for _ in items], "words": [None for _ in items]}
            for turn in turns:
                columns["turns"][clip_at(clips, turn.start_s)].append(
                    {"start_s": turn.start_s, "end_s": turn.end_s, "speaker": _named(turn.speaker)}
                )
            if self.of is not None:
                columns["words"] = [[] for _ in items]
                for place, word in words_of(clips, [item["text"] for item in items]):
                    columns["words"][place].append({**word._asdict(), "speaker": _speaker(turns, word)})
            return columns, _summary(turns)

        return extract


def _windows(items: Sequence[ClipInput]) -> list[Window]:
    heard = [one for item in items if item["voices"] is not None for one in item["voices"][VOICES] or ()]
    return [Window(**{**one, "voice": np.asarray(one["voice"], np.float32)}) for one in heard]


def _named(speaker: int) -> str:
    return f"speaker {speaker + 1}"


def _speaker(turns: Sequence[Turn], word: Any) -> str | None:
    """Who speaks most of a word, else whose turn is nearest to it; None where nobody speaks."""
    if not turns:
        return None
    middle_s = (word.start_s + word.end_s) / 2

    def away(turn: Turn) -> tuple[float, float]:
        shared = min(turn.end_s, word.end_s) - max(turn.start_s, word.start_s)
        return -max(0.0, shared), max(turn.start_s - middle_s, middle_s - turn.end_s, 0.0)

    return _named(min(turns, key=away).speaker)


def _summary(turns: Sequence[Turn]) -> dict[str, Any]:
    count = max((turn.speaker for turn in turns), default=-1) + 1
    held = [[turn.end_s - turn.start_s for turn in turns if turn.speaker == speaker] for speaker in range(count)]
    return {
        "speaker_count": count,
        "speakers": [
            {"speaker": _named(speaker), "seconds": sum(some), "turns": len(some)} for speaker, some in enumerate(held)
        ],
    }


EXTRACTOR = Speakers


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="audio",
        dim=None,
        inputs=f"the table {VOICES}",
        weights="none",
        licence="none",
        available=find_spec("sklearn") is not None,
    )
