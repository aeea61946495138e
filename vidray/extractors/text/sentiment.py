"""Whether what is said or written is positive or negative: by VADER's lexicon, or by a classifier of `transformers`.

Hutto and Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", by the
package `vaderSentiment`, which carries its lexicon. It is of English.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.errors import MissingExtraError, WeightsError
from vidray.extractors.protocol import Answer, ExtractFn, ModelInfo
from vidray.extractors.text.timed import Part, parts_of, sentences, texts_of
from vidray.media import ClipInput, Columns
from vidray.models.text_networks import folder_record, text_classifier
from vidray.models.weights import packaged_file, sha256_of

NAME = "sentiment"
EXTRA = "meaning"
PACKAGE = "vaderSentiment"
PACKAGE_VERSION = "3.3.2"
LEXICON = "vaderSentiment/vader_lexicon.txt"
LEXICON_SHA256 = "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5"

POSITIVE_FROM = 0.05
"""A score from which on a text is positive, and below whose negative it is negative: VADER's own README."""
COURSE_S = 60.0
"""Seconds of a step of a video's course."""
SURE = 0.99
"""So probable another language has to be before a text whose language nobody says is left out."""
FEWEST_LETTERS = 20
"""Of a shorter text the language is not told: it is taken to be English."""

SEGMENTS_TYPE = pa.list_(
    pa.struct(
        [
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("text", pa.string()),
            pa.field("label", pa.string()),
            pa.field("score", pa.float32()),
        ]
    )
)
COURSE_TYPE = pa.list_(
    pa.struct(
        [pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64()), pa.field("score", pa.float32())],
    )
)
COLUMNS = [
    ("sentiment", pa.string()),
    ("sentiment_score", pa.float32()),
    ("sentiment_probability", pa.float32()),
]

Floats = npt.NDArray[np.float64]


class Verdict(NamedTuple):
    """What is said of a text: a label, a score in [-1, 1], and the label's probability, where there are such."""

    label: str | None = None
    score: float | None = None
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Judge:
    """How texts are judged.

    Attributes:
        weigh: From texts to one vector each, None for a language that is not covered. Means of vectors are judged too.
        say: What a vector says.
    """

    weigh: Callable[[Sequence[Part]], list[Floats | None]]
    say: Callable[[Floats], Verdict]


@dataclass(frozen=True, kw_only=True)
class Sentiment:
    """How positive or negative the texts of a table are, by clip, by segment and over a video's time.

    A segment is one of speech, a line on screen or a sentence, and stands in the clip in which it begins. A clip is
    judged by the mean over its segments, each by its letters. Without a model it is VADER, which knows English alone:
    what is of another language is null.

    Attributes:
        of: The table with the texts; None for the only one.
        model: A text classifier of `transformers`, as a folder or by its name on a hub; None for VADER.
    """

    family: ClassVar[str] = NAME
    version: ClassVar[str] = "1"
    schema: ClassVar[pa.Schema] = pa.schema([*COLUMNS, ("segments", SEGMENTS_TYPE)])
    """The columns that it adds. `sentiment_score` is in [-1, 1]; null where a model's labels have no known side."""
    video_schema: ClassVar[pa.Schema] = pa.schema([*COLUMNS, ("course", COURSE_TYPE)])
    """The columns of a video: the same over all of it, and its course by the minute."""

    of: str | None = None
    model: str | None = None
    scope: ClassVar[Literal["video"]] = "video"

    @property
    def name(self) -> str:
        """The table's name."""
        return NAME if self.of is None else f"{NAME}-{self.of}"

    @property
    def inputs(self) -> Mapping[str, Columns]:
        """Texts."""
        return {"text": texts_of(self.of)}

    @property
    def weights_record(self) -> Mapping[str, str | None]:
        """Where the weights come from, and their sha256. Raises MissingExtraError or WeightsError."""
        if self.model is not None:
            return folder_record(self.model)
        return {"source": f"{PACKAGE}=={PACKAGE_VERSION}", "sha256": _lexicon_sha256()}

    def load(self, device: str) -> ExtractFn:
        """Load the lexicon or the network. Raises MissingExtraError or WeightsError."""
        judge = _vader() if self.model is None else _classifier(self.model, device)

        def extract(items: Sequence[ClipInput]) -> tuple[Answer, Answer]:
            parts = parts_of([item.clip for item in items], [item["text"] for item in items])
            return _answer(judge, parts, len(items))

        return extract


def _answer(judge: Judge, parts: Sequence[Part], clips: int) -> tuple[Answer, Answer]:
    weighed = list(zip(parts, judge.weigh(parts), strict=True))
    segments: list[list[dict[str, Any]]] = [[] for _ in range(clips)]
    for part, vector in weighed:
        said = Verdict() if vector is None else judge.say(vector)
        span = {"start_s": part.start_s, "end_s": part.end_s, "text": part.text}
        segments[part.clip].append({**span, "label": said.label, "score": said.score})
    rows = [
        _mean(judge, [(part.letters[place], vector) for part, vector in weighed if place in part.letters])
        for place in range(clips)
    ]
    whole = _mean(judge, [(sum(part.letters.values()), vector) for part, vector in weighed])
    return (
        {**_columns(rows), "segments": segments},
        {name: values[0] for name, values in _columns([whole]).items()} | {"course": _course(judge, weighed)},
    )


def _mean(judge: Judge, weighed: Sequence[tuple[int, Floats | None]]) -> Verdict:
    known = [(letters, vector) for letters, vector in weighed if vector is not None]
    if not known:
        return Verdict()
    return judge.say(np.average([vector for _, vector in known], axis=0, weights=[letters for letters, _ in known]))


def _columns(rows: Sequence[Verdict]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, (name, _) in enumerate(COLUMNS)}


def _course(judge: Judge, weighed: Sequence[tuple[Part, Floats | None]]) -> list[dict[str, Any]]:
    """By the minute of the video's clock in which a text begins; minutes without one are left out."""
    minutes: dict[int, list[tuple[int, Floats | None]]] = {}
    for part, vector in weighed:
        minutes.setdefault(math.floor(part.start_s / COURSE_S), []).append((sum(part.letters.values()), vector))
    return [
        {"start_s": minute * COURSE_S, "end_s": (minute + 1) * COURSE_S, "score": said.score}
        for minute, some in sorted(minutes.items())
        if (said := _mean(judge, some)).score is not None
    ]


def _vader() -> Judge:
    _lexicon_sha256()
    if find_spec("py3langid") is None:
        raise MissingExtraError(NAME, EXTRA)
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    identifier = LanguageIdentifier.from_modelpath(str(MODEL_DIR / MODEL_FILE), norm_probs=True)

    def weigh(parts: Sequence[Part]) -> list[Floats | None]:
        return [_score(analyzer, part.text) if _is_english(identifier, part) else None for part in parts]

    def say(vector: Floats) -> Verdict:
        score = float(vector[0])
        label = "positive" if score >= POSITIVE_FROM else "negative" if score <= -POSITIVE_FROM else "neutral"
        return Verdict(label, score)

    return Judge(weigh=weigh, say=say)


def _score(analyzer: Any, text: str) -> Floats:
    """The mean over a text's sentences, which VADER judges one by one."""
    return np.array([np.mean([analyzer.polarity_scores(one)["compound"] for one in sentences(text)])])


def _is_english(identifier: Any, part: Part) -> bool:
    if part.language is not None:
        return part.language == "en"
    if sum(character.isalpha() for character in part.text) < FEWEST_LETTERS:
        return True
    language, probability = identifier.classify(part.text)
    return bool(language == "en" or probability < SURE)


def _classifier(model: str, device: str) -> Judge:
    labels, classify = text_classifier(model, what=NAME, device=device)
    sides = sides_of(labels)

    def say(vector: Floats) -> Verdict:
        best = int(np.argmax(vector))
        return Verdict(labels[best], None if sides is None else float(vector @ sides), float(vector[best]))

    return Judge(weigh=lambda parts: list(classify([part.text for part in parts])), say=say)


def sides_of(labels: Sequence[str]) -> Floats | None:
    """Where in [-1, 1] a model's labels stand: words such as "negative", or stars; None where they are neither."""
    stars = [match[1] for label in labels if (match := re.fullmatch(r"(\d+) stars?", label.lower()))]
    if len(stars) == len(labels) > 1:
        return np.interp([int(one) for one in stars], [min(map(int, stars)), max(map(int, stars))], [-1.0, 1.0])
    words = {"neg": -1.0, "neu": 0.0, "pos": 1.0}
    found = [words.get(label.lower()[:3]) for label in labels]
    return None if None in found else np.array(found, np.float64)


def _lexicon_sha256() -> str:
    path = packaged_file(PACKAGE, LEXICON)
    if path is None:
        raise MissingExtraError(NAME, EXTRA)
    found = sha256_of(str(path))
    if found != LEXICON_SHA256:
        raise WeightsError(f"{path} is not what {NAME} was checked with: install {PACKAGE}=={PACKAGE_VERSION}")
    return found


EXTRACTOR = Sentiment


def info() -> ModelInfo:
    """What `vidray models` says of this extractor."""
    return ModelInfo(
        name=NAME,
        kind="text",
        dim=None,
        inputs="a table with texts, English; others by model=",
        weights=f"in the wheel {PACKAGE}=={PACKAGE_VERSION}; model= was checked on seeded weights alone",
        licence="MIT",
        available=packaged_file(PACKAGE, LEXICON) is not None and find_spec("py3langid") is not None,
    )
