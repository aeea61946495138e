"""Train a head on labeled clips, as Ray tasks on cached features: one gathers the features, one a fold trains.

No media is opened. The driver sees labels, predictions and the finished network, never the features.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import importlib.metadata
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidray.arguments import check_extractor, check_text, check_whole
from vidray.errors import ClusterError, MissingExtraError, UsageError
from vidray.labels.annotations import labeled_clips, read_annotations
from vidray.labels.cards import card, confusion_svg, figures
from vidray.labels.examples import COLUMNS, Ragged, joined, vectors_of
from vidray.labels.heads import PREDICTIONS, write_head
from vidray.labels.metrics import measure
from vidray.labels.numbers import has_numbers, number_columns, number_features, number_names
from vidray.pipeline.cluster import cluster
from vidray.pipeline.trouble import raise_as_said, reason_of
from vidray.pipeline.waiting import wait_for
from vidray.storage import place_of
from vidray.store import IDENTITY, Store
from vidray.store.copies import families
from vidray.store.layout import features_of
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.remedies import to_extract
from vidray.store.tables import checked_name, suiting_table
from vidray.wording import counted

RETRIES = 2
LARGEST_SEED = 2**32 - 1
Ints = npt.NDArray[np.int64]

WANTED = {
    "linear": ("embeddings", "-x efficientnet_lite0"),
    "gru": ("embeddings of single frames, from --per-frame,", "-x efficientnet_lite0 --per-frame --as NAME"),
    "text": ("texts", "-x moonshine"),
    "text-lstm": ("texts", "-x moonshine"),
}
"""What each kind of head is trained on, for messages, and how to get it."""


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What was trained, and how well it predicts clips of videos that it has not seen.

    Attributes:
        name: Of the head, `heads/<name>/`.
        network: "linear", "gru", "text" or "text-lstm".
        features: The feature table.
        classes: Their names.
        clips: That it was trained on.
        videos: That these are of.
        without_features: Labeled clips that were left out.
        folds: Of the cross-validation.
        metrics: `accuracy`, `macro_f1` with their 95% intervals (`..._low`, `..._high`), `average_precision` by class,
            `confusion`.
    """

    name: str
    network: str
    features: str
    classes: tuple[str, ...]
    clips: int
    videos: int
    without_features: int
    folds: int
    metrics: dict[str, Any]


def train(
    store: str | PathLike[str],
    labels: str | PathLike[str],
    *,
    name: str,
    head: str = "linear",
    extractor: str | None = None,
    folds: int = 5,
    seed: int = 0,
    any_source: bool = False,
    ray_address: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> TrainSummary:
    """Train a head on the labeled clips of a store and keep it in `heads/<name>/`, replacing the one that is there.

    Args:
        store: fsspec URL of a store with features.
        labels: Path or URL of a CSV file, with the columns clip_id,label or uri,label or uri,start_s,end_s,label.
        name: Of the head.
        head: "linear", a softmax regression on the clips' embeddings, or on the numbers (counts, areas) of a table
            without such; "gru", a recurrent network over the embeddings of their frames; "text", one over the words of
            their texts; or "text-lstm", the same with a long short-term memory in place of a gated recurrent unit.
        extractor: Whose features; by default the only ones that there are.
        folds: Of the cross-validation; each class must be in as many videos.
        seed: Of splits and of training: on one machine, the same labels and seed give the same head.
        any_source: Learn from a model's labels in the file, too, where its column `source` tells of such.
        ray_address: A running cluster, else RAY_ADDRESS, else one on this machine.
        say: Called with lines on what is going on.

    Raises:
        UsageError: The labels are of no clips of the store, of one class only, or of too few videos; the features are
            not there.
        MissingExtraError: scikit-learn is not installed.
        StoreError: The store cannot be read or written, or is being written by another run.
        ClusterError: There is no such cluster, or it keeps losing the work.
    """
    check_text(name=name, head=head)
    check_extractor(extractor=extractor)
    check_whole(folds=folds, seed=seed)
    if find_spec("sklearn") is None:
        raise MissingExtraError("training", "train")
    if head not in COLUMNS:
        raise UsageError(f"head must be one of {', '.join(COLUMNS)}, got {head!r}")
    if folds < 2:
        raise UsageError(f"folds must be at least 2, got {folds}")
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"seed must be in 0 to {LARGEST_SEED}, got {seed}")
    name, target, labels = checked_name(name), Store(store), place_of(labels, "labels")
    clips = labeled_clips(target, read_annotations(labels, any_source=any_source, say=say), labels, say=say)
    clips = _with_families(target, clips, say)
    table = _table(target, extractor, head)
    _check_labels(clips, labels, folds)
    with cluster(ray_address) as connection:
        connection.connect()
        connection.check_nodes(target.folder, None)
        found = _on_ray(target.url, table, head, clips, folds, seed)
    classes = sorted(set(clips["label"].to_pylist()))
    metrics = measure(found.classes, found.probabilities, found.videos, seed=seed)
    plainer = None
    if found.baseline is not None:
        plainer = measure(found.classes, found.baseline, found.videos, seed=seed)
    config: dict[str, Any] = {
        "name": name,
        "network": head,
        "classes": classes,
        "features": table,
        "spec": target.spec(table),
        "labels": labels,
        "clips": len(found.clips),
        "videos": len(pc.unique(found.clips["video_id"])),
        "without_features": len(clips) - len(found.clips),
        "folds": folds,
        "seed": seed,
        "setting": found.setting,
        **({"numbers": found.numbers} if found.numbers else {}),
        "metrics": figures(metrics, classes),
        **({} if plainer is None else {"baseline": figures(plainer, classes)}),
        "vidray": importlib.metadata.version("vidray"),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    files = {
        "card.md": card(config, metrics, plainer).encode(),
        "confusion.svg": confusion_svg(metrics.confusion, classes),
        PREDICTIONS: _predictions(found, classes),
    }
    with Lease(target.folder, say=say, of=OF_LABELS):
        write_head(target, name, model=found.model, config=config, files=files)
    shown = {field.name: config[field.name] for field in dataclasses.fields(TrainSummary)}
    return TrainSummary(**{**shown, "classes": tuple(classes)})


@dataclass(frozen=True)
class _Trained:
    """What the tasks give: the clips that have features, in plan order, their predictions, and the network.

    Attributes:
        clips: Rows of `LABELS`.
        classes: (N,).
        videos: (N,).
        fold: (N,), in which each clip was held out.
        probabilities: (N, C), of the network that did not see the clip's video.
        setting: What was chosen for the network that saw all.
        model: That network, as safetensors.
        numbers: The features, where they are no embeddings.
        baseline: (N, C), of a linear head on the texts' embeddings; None for a head that is not of texts, and where
            the extra `text` is not installed.
    """

    clips: pa.Table
    classes: Ints
    videos: Ints
    fold: Ints
    probabilities: npt.NDArray[np.float64]
    setting: dict[str, float]
    model: bytes
    numbers: tuple[str, ...]
    baseline: npt.NDArray[np.float64] | None = None


def _with_families(store: Store, clips: pa.Table, say: Callable[[str], None]) -> pa.Table:
    """The clips with a column `family`: videos that share copies are one, so that no fold has them on both sides."""
    column = families(store, clips)
    videos, apart = len(pc.unique(clips["video_id"])), len(pc.unique(column))
    if apart < videos:
        said = f"{counted(videos - apart, 'labeled video')} share copies with others, by duplicates/"
        say(f"{said}{', duplicates/'.join(store.tables('duplicates'))}: they are held out together")
    return clips.append_column("family", column)


def _table(store: Store, extractor: str | None, head: str) -> str:
    column = COLUMNS[head]
    what, options = WANTED[head]
    wanted: dict[str, Callable[[Any], bool]] = {what: lambda spec: column in dict(spec.get("columns") or ())}
    if head == "linear":
        wanted["numbers"] = has_numbers
    table = suiting_table(store, extractor, wanted, remedy=options)
    parts = store.parts(features_of(table))
    is_of_numbers = head == "linear" and has_numbers(store.spec(table) or {})
    if parts and not is_of_numbers and column not in store.columns(features_of(table), parts[0]):
        extract = f"run {to_extract(store, *options.split())}"
        remedy = extract if head != "linear" else "name another table with -x"
        raise UsageError(
            f"{store.url}/{features_of(table)} has no {column}, which a {head} head is trained on; {remedy}"
        )
    return table


def _check_labels(clips: pa.Table, labels: str, folds: int) -> None:
    """Refuse what no head can be trained on, and measured."""
    several = pc.value_counts(clips["clip_id"]).to_pylist()
    twice = next((pair["values"] for pair in several if pair["counts"] > 1), None)
    if twice is not None:
        given = clips.filter(pc.equal(clips["clip_id"], twice))["label"].to_pylist()
        raise UsageError(f"{labels}: clip '{twice}' is labeled {' and '.join(given)}; a head gives one label a clip")
    videos = clips.group_by(["label", "family"]).aggregate([]).group_by("label").aggregate([("family", "count")])
    counts = dict(zip(videos["label"].to_pylist(), videos["family_count"].to_pylist(), strict=True))
    if len(counts) < 2:
        raise UsageError(f"{labels}: only one class, '{next(iter(counts))}'; label clips that are something else too")
    least = min(counts, key=lambda name: (counts[name], name))
    if counts[least] < folds:
        fewer = f", or use --folds {counts[least]}" if counts[least] >= 2 else ""
        raise UsageError(
            f"{labels}: '{least}' is in {counts[least]} of the store's videos, and {folds} folds need it in {folds}; "
            f"label more videos{fewer}"
        )


def _on_ray(store_url: str, table: str, head: str, clips: pa.Table, folds: int, seed: int) -> _Trained:
    import ray
    import ray.exceptions

    options: dict[str, Any] = {"num_cpus": 1, "max_retries": RETRIES}
    gather: Any = ray.remote(**options)(_gather)
    finish: Any = ray.remote(**options)(_fit)
    try:
        kept, examples = gather.options(num_returns=2).remote(store_url, table, COLUMNS[head], clips, folds)
        rows, classes, videos, numbers = ray.get(wait_for(kept, doing="gathering features"))
        parts = ray.remote(**options)(_splits).remote(examples, folds, seed)
        tests = ray.get(wait_for(parts, doing="splitting clips"))
        folded = ray.remote(**options)(_fold)
        answers = [folded.remote(head, examples, parts, fold, seed) for fold in range(folds)]
        last = finish.options(num_returns=2).remote(head, examples, seed)
        probe = None
        if COLUMNS[head] == "text":
            probe = ray.remote(**options)(_baseline).remote(store_url, table, examples, rows, parts, seed)
        predictions = [ray.get(wait_for(answer, doing="training on folds")) for answer in answers]
        wait_for(last[0], doing="training on all clips")
        model, setting = ray.get(last)
        baseline = None if probe is None else ray.get(wait_for(probe, doing="training a baseline"))
    except TimeoutError as e:
        raise ClusterError(str(e)) from e
    except ray.exceptions.RayTaskError as e:
        _raise_cause(e)
    except ray.exceptions.RayError as e:
        raise ClusterError(f"training was lost {RETRIES + 1} times: {reason_of(e)}") from e
    probabilities = np.empty((len(rows), predictions[0].shape[1]))
    fold = np.empty(len(rows), np.int64)
    for number, ((_, test), found) in enumerate(zip(tests, predictions, strict=True)):
        probabilities[test], fold[test] = found, number
    return _Trained(rows, classes, videos, fold, probabilities, setting, model, numbers, baseline)


def _raise_cause(error: Any) -> NoReturn:
    """Raise what a task failed of as an error of one line."""
    raise_as_said(error)
    raise ClusterError(f"training failed on the cluster: {reason_of(error)}") from error


def _gather(store_url: str, table: str, column: str, clips: pa.Table, folds: int) -> tuple[Any, Any]:
    """The features of the labeled clips: what the driver needs to know of them, and the examples to train on."""
    from vidray.labels.training import Examples, least_videos

    store = Store(store_url)
    names = sorted(set(clips["label"].to_pylist()))
    rows: list[pa.Table] = []
    features: list[Ragged] = []
    numbers: tuple[str, ...] = ()
    if column == "embedding" and has_numbers(store.spec(table) or {}):
        found_rows, found, numbers = _gather_numbers(store, table, clips)
        rows, features = [found_rows], [found]
    for part in () if numbers else store.parts(features_of(table)):
        for some in store.stream(features_of(table), part, ["clip_id", column]):
            places = pc.index_in(some["clip_id"], value_set=clips["clip_id"].combine_chunks())
            found, usable = vectors_of(some.filter(places.is_valid()), column)
            rows.append(clips.take(places.drop_null().filter(pa.array(usable))))
            features += [found] if len(found) else []
    kept = pa.concat_tables(rows) if rows else clips.slice(0, 0)
    videos = pc.unique(kept["family"])
    indices = {
        "classes": pc.index_in(kept["label"], value_set=pa.array(names)).to_numpy().astype(np.int64),
        "videos": pc.index_in(kept["family"], value_set=videos).to_numpy().astype(np.int64),
    }
    if len(np.unique(indices["classes"])) < len(names):
        lost = names[int(np.setdiff1d(np.arange(len(names)), indices["classes"])[0])]
        raise UsageError(f"{store_url}/{features_of(table)} has no features of any clip labeled '{lost}'")
    examples = Examples(joined(features), **indices, count=len(names))
    least = least_videos(examples)
    if least < folds:
        raise UsageError(
            f"without the clips that features/{table} lacks, a class is in {least} videos, and {folds} folds need it "
            f"in {folds}; label more videos, or use fewer folds"
        )
    return (kept.select([*IDENTITY.names, "label"]), indices["classes"], indices["videos"], numbers), examples


def _gather_numbers(store: Store, table: str, clips: pa.Table) -> tuple[pa.Table, Ragged, tuple[str, ...]]:
    """The labeled clips that have all numbers of a table, these numbers, and what they are."""
    columns = number_columns((store.spec(table) or {})["columns"])
    rows = [clips.slice(0, 0)]
    held: list[pa.Table] = []
    for part in store.parts(features_of(table)):
        for some in store.stream(features_of(table), part, ["clip_id", *columns]):
            places = pc.index_in(some["clip_id"], value_set=clips["clip_id"].combine_chunks())
            rows.append(clips.take(places.drop_null()))
            held.append(some.filter(places.is_valid()).select(columns))
    # which labels are counted is known once all rows are
    table_of_all = pa.concat_tables(held)
    names = number_names(table_of_all)
    found, usable = number_features(table_of_all, names)
    return pa.concat_tables(rows).filter(pa.array(usable)), found, names


def _splits(examples: Any, folds: int, seed: int) -> list[tuple[Ints, Ints]]:
    from vidray.labels.training import splits

    return splits(examples, folds, seed=seed)


def _fold(head: str, examples: Any, parts: list[tuple[Ints, Ints]], fold: int, seed: int) -> npt.NDArray[np.float64]:
    """Class probabilities of the clips that a fold holds out, by a network that did not see their videos."""
    from vidray.labels.networks import predict
    from vidray.labels.training import fit

    train_on, test = parts[fold]
    return predict(fit(head, examples.take(train_on), seed=seed).network, examples.clips.take(test))


def _fit(head: str, examples: Any, seed: int) -> tuple[bytes, dict[str, float]]:
    from vidray.labels.networks import to_safetensors
    from vidray.labels.training import fit

    fitted = fit(head, examples, seed=seed)
    return to_safetensors(fitted.network), fitted.setting


def _baseline(
    store_url: str, table: str, examples: Any, clips: pa.Table, parts: list[tuple[Ints, Ints]], seed: int
) -> npt.NDArray[np.float64] | None:
    """Class probabilities (N, C) by linear heads on the embeddings of texts; None without the extra `text`."""
    from vidray.labels.networks import predict
    from vidray.labels.training import fit
    from vidray.models.sentences import embed_sentences

    store = Store(store_url)
    texts: dict[str, str] = {}
    for part in store.parts(features_of(table)):
        for some in store.stream(features_of(table), part, ["clip_id", "text"]):
            texts |= dict(zip(some["clip_id"].to_pylist(), some["text"].to_pylist(), strict=True))
    try:
        vectors = embed_sentences([texts[clip_id] for clip_id in clips["clip_id"].to_pylist()])
    except MissingExtraError:
        return None
    plain = dataclasses.replace(examples, clips=Ragged(vectors, np.ones(len(vectors), np.int64)))
    found = np.empty((len(vectors), examples.count))
    for train_on, test in parts:
        found[test] = predict(fit("linear", plain.take(train_on), seed=seed).network, plain.clips.take(test))
    return found


def _predictions(found: _Trained, classes: list[str]) -> bytes:
    """A line a clip; the first columns are those of a file of labels."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*IDENTITY.names, "label", "fold", "predicted", "score"])
    best = found.probabilities.argmax(axis=1)
    for row, fold, place, scores in zip(found.clips.to_pylist(), found.fold, best, found.probabilities, strict=True):
        writer.writerow([*row.values(), fold, classes[place], f"{scores[place]:.6f}"])
    return text.getvalue().encode()
