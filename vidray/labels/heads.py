"""Trained heads in a store, `heads/<name>/`: written whole, opened only with the features that they were trained on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa

from vidray.arguments import check_has, check_whole
from vidray.errors import SpecMismatchError, StoreError, UsageError, WeightsError
from vidray.labels.examples import COLUMNS
from vidray.labels.head import Head
from vidray.labels.suggestions import choose, directions, others_first, uncertainty
from vidray.models.weights import load_state_dict
from vidray.store import HUMAN, IDENTITY, Store
from vidray.store.layout import features_of, head_of, labels_of
from vidray.store.remedies import to_extract, train_command
from vidray.store.tables import checked_name

FORMAT = 1
MODEL = "model.safetensors"
CONFIG = "config.json"
PREDICTIONS = "predictions.csv"
POOL_A_SUGGESTION = 20
LEAST_POOL = 200


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One clip that is worth labeling.

    Attributes:
        label: What the head takes it for.
        score: Its probability.
        uncertainty: 1 less the margin to the second likeliest class.
    """

    clip_id: str
    uri: str
    start_s: float
    end_s: float
    label: str
    score: float
    uncertainty: float


def write_head(store: Store, name: str, *, model: bytes, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a head; its configuration comes last and names the model by its hash, so that no half of it is opened.

    Args:
        store: With the lease held by the caller.
        name: As `checked_name` has it.
        model: safetensors.
        config: With `network`, `classes`, `features` and `spec`; what else it says is for readers.
        files: What else belongs to it, by name.
    """
    for file, content in {**files, MODEL: model}.items():
        store.folder.write_bytes(f"{head_of(name)}/{file}", content)
    whole = {"format": FORMAT, "name": name, **config, "sha256": hashlib.sha256(model).hexdigest()}
    store.folder.write_bytes(f"{head_of(name)}/{CONFIG}", (json.dumps(whole, indent=2) + "\n").encode())


def open_head(store: str | PathLike[str], name: str) -> Head:
    """A trained head of a store, to be given to `label`.

    Raises:
        UsageError: There is no such head.
        SpecMismatchError: Its feature table is gone, or was made by something else since.
        StoreError: It is damaged.
    """
    held = Store(store)
    folder = head_of(checked_name(name))
    if not held.folder.exists(f"{folder}/{CONFIG}"):
        there = held.holding("heads", CONFIG)
        known = f"there are {', '.join(there)}" if there else "there is none"
        raise UsageError(f"{held.url}: no head '{name}', {known}; train it: {train_command(held.url, name)}")
    damaged = f"{held.url}/{folder} is damaged; train it again: {train_command(held.url, name)}"
    try:
        config = json.loads(held.folder.read_bytes(f"{folder}/{CONFIG}"))
        sha256 = hashlib.sha256(held.folder.read_bytes(f"{folder}/{MODEL}")).hexdigest()
        if config["format"] != FORMAT:
            raise StoreError(f"{held.url}/{folder}: format {config['format']!r}, this vidray reads {FORMAT}")
        network, classes, features = str(config["network"]), tuple(map(str, config["classes"])), str(config["features"])
        if sha256 != config["sha256"] or network not in COLUMNS:
            raise StoreError(damaged)
        numbers = tuple(map(str, config.get("numbers", ())))
        _check_features(held, folder, features, config["spec"], network)
        model = _model(network, f"{held.url}/{folder}/{MODEL}", len(classes))
    except (ValueError, KeyError, TypeError, RuntimeError, FileNotFoundError, WeightsError) as e:
        raise StoreError(damaged) from e
    return Head(
        name=name, network=network, classes=classes, features=features, sha256=sha256, model=model, numbers=numbers
    )


def _model(network: str, url: str, classes: int) -> Any:
    from vidray.labels.networks import from_tensors

    tensors = load_state_dict(url)
    if len(tensors["out.weight"]) != classes:
        raise ValueError("another number of classes")
    return from_tensors(network, tensors)


def _check_features(store: Store, folder: str, features: str, spec: Mapping[str, Any] | None, network: str) -> None:
    if features not in store.tables("features"):
        raise SpecMismatchError(
            f"{store.url}: {folder} was trained on features/{features}, which is gone; "
            f"run {to_extract(store, '-x', features)}"
        )
    different = store.spec_differences(features, spec or {})
    if different is not None:
        raise SpecMismatchError(
            f"{store.url}/{features_of(features)} is not what {folder} was trained on: made with {different}; "
            f"train it again: {train_command(store.url, folder.partition('/')[2], network, features)}"
        )


def suggest(store: str | PathLike[str], head: Head, *, count: int) -> list[Suggestion]:
    """The clips worth labeling next: a head is unsure of them, and they are not alike; one a video where possible.

    Clips with a person's label in `labels/<head>`, and those that the head was trained on, are left out. Reads the
    features once, and keeps twenty times as many clips as are asked for.

    Args:
        store: fsspec URL of the store.
        head: From `open_head`.
        count: How many; fewer come back where the store has fewer.
    """
    held = Store(store)
    check_has("a head, from open_head", "features", "classes", "look", head=head)
    check_whole(count=count)
    labeled = _labeled(held, head.name)
    pool = _Pool(max(LEAST_POOL, POOL_A_SUGGESTION * count))
    table = features_of(head.features)
    for part in held.parts(table):
        for rows in held.stream(table, part, [*IDENTITY.names, *head.columns]):
            new = rows.filter(pa.compute.invert(pa.compute.is_in(rows["clip_id"], value_set=labeled)))
            clips, usable, probabilities = head.look(new)
            if len(clips):
                pool.add(new.select(IDENTITY.names).filter(pa.array(usable)), directions(clips), probabilities)
    return [
        Suggestion(
            **{name: clip[name] for name in ("clip_id", "uri", "start_s", "end_s")},
            label=head.classes[int(probabilities.argmax())],
            score=float(probabilities.max()),
            uncertainty=float(uncertainty(probabilities[None])[0]),
        )
        for clip, probabilities in pool.best(count)
    ]


class _Pool:
    """The clips among which the suggestions are: the least certain one of each video before second ones."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._clips: pa.Table | None = None
        self._vectors = np.zeros((0, 0), np.float32)
        self._probabilities = np.zeros((0, 0))

    def add(self, clips: pa.Table, vectors: Any, probabilities: Any) -> None:
        if self._clips is not None:
            clips = pa.concat_tables([self._clips, clips])
            vectors = np.concatenate([self._vectors, vectors])
            probabilities = np.concatenate([self._probabilities, probabilities])
        kept = others_first(uncertainty(probabilities), _numbered(clips))[: self._size]
        self._clips, self._vectors, self._probabilities = clips.take(pa.array(kept)), vectors[kept], probabilities[kept]

    def best(self, count: int) -> list[tuple[dict[str, Any], Any]]:
        if self._clips is None:
            return []
        uncertain = uncertainty(self._probabilities)
        chosen = choose(uncertain, self._vectors, _numbered(self._clips), count)
        return list(zip(self._clips.take(pa.array(chosen)).to_pylist(), self._probabilities[chosen], strict=True))


def _numbered(clips: pa.Table) -> Any:
    indices = clips["video_id"].combine_chunks().dictionary_encode().indices
    return indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _labeled(store: Store, name: str) -> pa.Array:
    """The clips that a person labeled for a head, here or before it was trained."""
    content = store.folder.read_bytes(f"{head_of(name)}/{PREDICTIONS}").decode()
    ids = [row["clip_id"] for row in csv.DictReader(io.StringIO(content, newline=""))]
    for part in store.parts(labels_of(name)):
        rows = store.read(labels_of(name), part, ["clip_id", "source"])
        ids += rows.filter(pa.compute.equal(rows["source"], HUMAN))["clip_id"].to_pylist()
    return pa.array(ids, pa.string())
