"""Labels of clips and of videos, from feature tables alone: no media is opened, and 100,000 clips take seconds.

Labels that a person gave (`source` is `human`) stand above a model's: a labeler never changes them, and adds nothing to
the clips that have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.arguments import check_has, check_text_or_none, check_texts
from vidray.errors import SpecMismatchError, UsageError, one_line
from vidray.extractors.spec import column_names, has_classes
from vidray.labels import Classes, Labeler, Ranked, zero_shot
from vidray.labels.happenings import Happenings
from vidray.labels.zero_shot import check_prompts
from vidray.storage import open_uri
from vidray.store import HUMAN, IDENTITY, LABELS, Store
from vidray.store.label_rows import write_labels
from vidray.store.layout import features_of, labels_of, video_labels_of
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.remedies import train_command
from vidray.store.tables import checked_name, features_table, suiting_table, text_table

MOST_PROMPT_BYTES = 10_000_000
TEXTS_SAID = 10
"""Texts without a clip that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """What `label` did.

    Attributes:
        name: Of the labels, `labels/<name>/`.
        features: The feature table that was read.
        clips: In the plan.
        labeled: Clips with at least one label, a person's or the labeler's.
        human: Clips among them whose labels are a person's.
        without_features: Clips that the feature table has no row of, failed ones among them.
        labels: Rows written.
    """

    name: str
    features: str
    clips: int
    labeled: int
    human: int
    without_features: int
    labels: int


def label(
    store: str | PathLike[str],
    labeler: Labeler,
    *,
    name: str | None = None,
    threshold: float | None = None,
    top: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LabelSummary:
    """Label the clips of a store from one of its feature tables, into `labels/<name>/` and `video_labels/<name>/`.

    Run again, it replaces what a labeler of the same kind wrote from the same features, with whatever settings, and
    keeps what people wrote. It is to be run again when clips have been added.

    Args:
        store: fsspec URL of a store with features.
        labeler: What looks at the features.
        name: Of the labels, by default the labeler's kind and its table, as in `classes-yamnet`.
        threshold: The least score of a label, None for all.
        top: How many labels a clip has at most, None for all.
        say: Called with a line where another run holds the labels, and for each text that the threshold leaves
            without a clip.

    Raises:
        UsageError: There is no store, no such table, or it lacks a column that the labeler needs.
        SpecMismatchError: The name is that of labels by another kind of labeler, or of other features.
        StoreError: The store cannot be read, or its labels are being written by another run.
    """
    target = Store(store)
    target.check_planned()
    check_has("a labeler", "kind", "features", "columns", labeler=labeler)
    check_text_or_none(name=name)
    table = features_table(target, labeler.features)
    _check(target, table, labeler, threshold=threshold, top=top)
    spec = {
        "kind": labeler.kind,
        "features": table,
        "features_sha256": target.spec_sha256(table),
        "settings": {**labeler.spec(), "threshold": threshold, "top": top},
    }
    name = checked_name(name or f"{labeler.kind}-{table}")
    with Lease(target.folder, say=say, of=OF_LABELS) as lease:
        _check_name(target, name, spec)
        # while it is not whole, some parts may be an earlier run's
        target.write_labels_spec(name, {**spec, "whole": False})
        counts = np.zeros(5, np.int64)
        best = _Best(labeler.spec().get("prompts") or ())
        parts = target.parts("clips")
        featured, held = set(target.parts(features_of(table))), set(target.parts(labels_of(name)))
        for part in parts:
            rows = _labeled_rows(target, table, part, labeler) if part in featured else iter(())
            human = _human_labels(target, name, part) if part in held else LABELS.empty_table()
            counts += _label_part(target, name, part, labeler.kind, _cut(best.over(rows), threshold, top), human)
            lease.check()
        for stale in held - set(parts):
            target.remove(video_labels_of(name), stale)
            target.remove(labels_of(name), stale)
        target.write_labels_spec(name, {**spec, "whole": True})
    if threshold is not None:
        for line in best.below(threshold):
            say(line)
    clips, seen, labeled, human, labels = map(int, counts)
    return LabelSummary(
        name=name, features=table, clips=clips, labeled=labeled, human=human, without_features=clips - seen,
        labels=labels,
    )  # fmt: skip


def class_labeler(store: str | PathLike[str], *, extractor: str | None = None) -> Labeler:
    """The classes that a network of a store found, for `label`.

    Args:
        store: fsspec URL of a store.
        extractor: The network, where several of the store have classes.

    Raises:
        UsageError: No table has classes, or several have.
    """
    held = Store(store)
    check_text_or_none(extractor=extractor)
    return Classes(features=suiting_table(held, extractor, {"classes": has_classes}))


def event_labeler(store: str | PathLike[str], *, extractor: str | None = None) -> Labeler:
    """The events of a table, for `label`: what starts in a clip is its label.

    Args:
        store: fsspec URL of a store.
        extractor: Whose events, where several tables have some.

    Raises:
        UsageError: No table has events, or several have.
    """
    held = Store(store)
    wanted = {"events": lambda spec: "events" in column_names(spec)}
    return Happenings(features=suiting_table(held, extractor, wanted, remedy="-x object_events"))


def zero_shot_labeler(store: str | PathLike[str], prompts: Sequence[str], *, extractor: str | None = None) -> Labeler:
    """Labels in words of one's own, for `label`: by a joint image-text model, or by the classes that a network found.

    Args:
        store: fsspec URL of a store.
        prompts: The labels, as in "a dog", "traffic".
        extractor: Whose table, where several would do: by default one of open_clip, else one of frames with classes,
            else one of sounds.

    Raises:
        UsageError: No prompts, no such table, or several that are as good.
    """
    held = Store(store)
    check_texts(prompts=prompts)
    check_text_or_none(extractor=extractor)
    wanted = check_prompts(prompts)
    table = text_table(held, extractor)
    return zero_shot(table, held.spec(table) or {}, wanted)


def read_prompts(uri: str) -> list[str]:
    """The lines of a text file that are not empty. Raises UsageError where it cannot be read."""
    try:
        with open_uri(uri) as file:
            text = file.read(MOST_PROMPT_BYTES).decode()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{uri}: no text file that can be read: {one_line(e)[:200]}") from e
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check(store: Store, table: str, labeler: Labeler, *, threshold: float | None, top: int | None) -> None:
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"threshold must be a number, got {threshold}")
    if top is not None and top < 1:
        raise UsageError(f"top must be at least 1, got {top}")
    for part in store.parts(features_of(table))[:1]:
        lacking = set(labeler.columns) - set(store.columns(features_of(table), part))
        if lacking:
            raise UsageError(
                f"{store.url}/{features_of(table)} has no column {', '.join(sorted(lacking))}, "
                f"which {labeler.kind} labels are made from; name another table with -x"
            )


def _check_name(store: Store, name: str, spec: dict[str, Any]) -> None:
    known = store.labels_spec(name)
    if known is None or known["kind"] == HUMAN:
        return
    remedy = "give the new ones a name of their own with --name"
    if spec["kind"] == "head":
        remedy = f"train the head under another name: {train_command(store.url, 'NAME')}"
    for what in ("kind", "features"):
        if known[what] != spec[what]:
            raise SpecMismatchError(
                f"{store.url}/{labels_of(name)} are {known['kind']} labels from {known['features']}, "
                f"not {spec['kind']} labels from {spec['features']}; {remedy}"
            )


def _human_labels(store: Store, name: str, part: int) -> pa.Table:
    """The rows of one part of `labels/<name>` that people gave, as `LABELS`."""
    rows = store.read(labels_of(name), part).select(LABELS.names).cast(LABELS)
    return rows.filter(pc.equal(rows["source"], HUMAN))


def _labeled_rows(store: Store, table: str, part: int, labeler: Labeler) -> Iterator[tuple[str, Ranked]]:
    columns = list(dict.fromkeys([*IDENTITY.names, *labeler.columns]))
    for rows in store.stream(features_of(table), part, columns):
        yield from zip(rows["clip_id"].to_pylist(), labeler.label(rows), strict=True)


class _Best:
    """The best score that each text has of any clip, taken down in passing."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._scores = dict.fromkeys(texts, 0.0)

    def over(self, rows: Iterator[tuple[str, Ranked]]) -> Iterator[tuple[str, Ranked]]:
        """The same rows."""
        for clip_id, ranked in rows:
            for label, score in ranked if self._scores else ():
                self._scores[label] = max(self._scores[label], score)
            yield clip_id, ranked

    def below(self, threshold: float) -> Iterator[str]:
        """A line for each text that no clip reaches the threshold with, best first."""
        low = sorted(((score, text) for text, score in self._scores.items() if score < threshold), reverse=True)
        for score, text in low[:TEXTS_SAID]:
            yield f"'{text}' labels no clip: its best score is {score:.2f}, the threshold {threshold:g}"
        if len(low) > TEXTS_SAID:
            yield f"{len(low) - TEXTS_SAID:,} more texts label no clip; their best score is {low[TEXTS_SAID][0]:.2f}"


def _cut(rows: Iterator[tuple[str, Ranked]], threshold: float | None, top: int | None) -> Iterator[tuple[str, Ranked]]:
    for clip_id, ranked in rows:
        yield clip_id, [pair for pair in ranked if threshold is None or pair[1] >= threshold][:top]


def _label_part(
    store: Store, name: str, part: int, kind: str, found: Iterator[tuple[str, Ranked]], human: pa.Table
) -> npt.NDArray[np.int64]:
    """Label one part; how many clips, clips with features, labeled clips, clips labeled by people, and rows."""
    clips = store.read("clips", part, IDENTITY.names)
    seen: list[str] = []
    lengths: list[int] = []
    labels: list[str] = []
    scores: list[float] = []
    for clip_id, ranked in found:
        seen.append(clip_id)
        lengths.append(len(ranked))
        labels.extend(label for label, _ in ranked)
        scores.extend(score for _, score in ranked)
    places = pc.index_in(pa.array(seen, pa.string()), value_set=clips["clip_id"].combine_chunks())
    model = clips.take(places.take(pa.array(np.repeat(np.arange(len(seen)), lengths), pa.int64())))
    model = model.append_column("label", pa.array(labels, pa.string()))
    model = model.append_column("score", pa.array(scores, pa.float32()))
    model = model.append_column("source", pa.repeat(pa.scalar(kind), len(labels)))
    rows = write_labels(store, name, part, model=model, human=human)
    labeled = pc.count_distinct(rows["clip_id"]).as_py()
    by_people = pc.count_distinct(rows.filter(pc.equal(rows["source"], HUMAN))["clip_id"]).as_py()
    return np.array([len(clips), len(places) - places.null_count, labeled, by_people, len(rows)])
