"""One answer to a text from all that a store has: what is seen, detected and heard, by scores that mean the same.

Every source's score is about the share of clips with such a score that the text is right for. Which modality a text is
about shifts them: `a dog barking` is heard rather than seen, a skateboard is seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vidray.retrieval.answers import Answer
from vidray.retrieval.hits import Explanation, Hit

UNLIKELY = 0.1
"""Below such a score a text is wrong for nine clips of ten and more: docs/labels.md."""

_ABOUT_AUDIO = re.compile(
    r"""\b(
    (applau|audio|beep|bleat|boom|buzz|chant|chatter|cheer|chime|chirp|clap|clatter|cough|croak|crying|drum|echo|explosion)\w*
    | (giggl|growl|guitar|gunshot|hear|hiss|howl|jingl|laugh|meow|melod|music|nois|piano|purr|quack|rattl|roar|rumbl)\w*
    | (scream|shout|silen|singing|siren|snor|song|sound|speak|speech|squeak|talk|thunder|voice|whisper|whistl|yell)\w*
    | (bang|bark|bell|click|drill|honk|hum|loud|moan|moo|ring|sing|tick|tone|wind)(s|ed|ing|ming)?
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""What is heard: words by how they begin, and those that begin others too (`wind`, not `window`) with an ending."""

SHIFTS = {
    True: {"audio": 0.7, "frames": -1.5, "speech": 0.0, "screen": 0.0, "description": -1.5},
    False: {"audio": -0.7, "frames": 0.0, "speech": 0.0, "screen": 0.0, "description": 0.0},
}
"""What is added to the log odds of a score, by whether the text says what is heard, and by who answers."""


def is_about_audio(text: str) -> bool:
    """Whether a text says what is heard: `a dog barking`, `piano music`, `wind noise`."""
    return _ABOUT_AUDIO.search(text) is not None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One table that answers a text.

    Attributes:
        table: The feature table.
        extractor: Its extractor's name, for a person.
        modality: `frames`, `audio`, `speech`, `screen` or `description`.
        answer: What is asked.
        calibrated: From the hits of `answer` to the same with a score in [0, 1].
        is_probability: Whether the scores of `answer` are in [0, 1] already; where this source is asked alone, they
            stand as they are.
    """

    table: str
    extractor: str
    modality: str
    answer: Answer
    calibrated: Callable[[list[Hit]], list[Hit]] = lambda hits: hits
    is_probability: bool = True


@dataclass
class Fused:
    """The answers of several sources as one.

    A clip is found by the modality that scores it highest; by words it is found once for each segment or line that
    answers, with that one's own times.
    """

    text: str
    sources: Sequence[Source]
    _last: list[Hit] = field(default_factory=list, init=False)

    @property
    def table(self) -> str:
        """The table that found the best hit; the first where there is none."""
        by_name = {source.extractor: source.table for source in self.sources}
        return by_name[str(self._last[0].extractor)] if self._last else self.sources[0].table

    def hits(self, count: int) -> list[Hit]:
        """The best hits over all sources, ties in the order of the sources, then of the plan."""
        best: dict[tuple[Any, ...], Hit] = {}
        shift = SHIFTS[is_about_audio(self.text)]
        several = len({source.modality for source in self.sources}) > 1
        for source in self.sources:
            hits = source.answer.hits(count)
            for hit in source.calibrated(hits) if len(self.sources) > 1 else hits:
                score = _shifted(hit.score, shift[source.modality]) if several else hit.score
                own = () if hit.text is None else (hit.start_s, hit.end_s)
                key = hit.clip_id, source.modality, *own
                if key not in best or score > best[key].score:
                    best[key] = replace(hit, score=score, modality=source.modality, extractor=source.extractor)
        ranked = sorted(best.values(), key=lambda hit: -hit.score)
        found_by = {hit.clip_id: hit.modality for hit in reversed(ranked)}
        self._last = [hit for hit in ranked if hit.modality == found_by[hit.clip_id]][:count]
        return self._last

    def notes(self) -> tuple[str, ...]:
        """What the sources say, and whether even the best hit is unlikely."""
        notes = [note for source in self.sources for note in source.answer.notes()]
        known = len(self.sources) > 1 or self.sources[0].is_probability
        if known and self._last and self._last[0].score < UNLIKELY:
            names = ", ".join(source.extractor for source in self.sources)
            notes.append(
                f"no clip is likely to be of '{self.text}' (the best scores {self._last[0].score:.2f}): "
                f"{names} may have no such class"
            )
        return tuple(dict.fromkeys(notes))

    def explanation(self) -> Explanation:
        """How the source that found the best hit was asked."""
        table = self.table
        return next(source.answer.explanation() for source in self.sources if source.table == table)


def _shifted(score: float, shift: float) -> float:
    """A probability whose log odds are shifted; 0 and 1 stay."""
    odds = score * float(np.exp(shift))
    return odds / (odds + 1 - score)
