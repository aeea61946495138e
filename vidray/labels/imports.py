"""People's labels in a store's tables: imported from a file, and taken out again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from os import PathLike

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import StoreError, UsageError
from vidray.labels.annotations import labeled_clips, read_annotations
from vidray.storage import place_of
from vidray.store import HUMAN, LABELS, Store, part_file
from vidray.store.label_rows import write_labels
from vidray.store.layout import imports_of, labels_of, video_labels_of
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.tables import checked_name

SPEC = b"spec"
"""Under which key a record of an import holds what the labels were before."""


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What `import_labels` or `undo_import` did.

    Attributes:
        name: Of the labels, `labels/<name>/`.
        clips: That the file has labels for, or whose labels are as they were before.
        labels: Rows written, one a label.
    """

    name: str
    clips: int
    labels: int


def import_labels(
    store: str | PathLike[str],
    labels: str | PathLike[str],
    *,
    name: str,
    any_source: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ImportSummary:
    """Write people's labels from a CSV file into `labels/<name>/` and `video_labels/<name>/`.

    They have the source `human` and the score 1, and stand above a model's labels of the same name: what a model said
    of these clips goes, and no model's labels come to them later. A clip that had people's labels before has those of
    the file instead; other clips keep what they have. `undo_import` takes an import back.

    Args:
        store: fsspec URL of a store.
        labels: Path or URL of the file; its columns are as `read_annotations` says.
        name: Of the labels.
        any_source: Take a model's labels in the file for a person's, too.
        say: Called with a line where another run holds the labels, or lines of the file are left out.

    Raises:
        UsageError: There is no store or no such file, no line is of a clip of the store, or the name cannot be one.
        StoreError: The store cannot be read, or its labels are being written by another run.
    """
    target = Store(store)
    name, labels = checked_name(name), place_of(labels, "labels")
    annotations = read_annotations(labels, any_source=any_source, say=say)
    found = labeled_clips(target, annotations, labels, say=say)
    clips = pc.unique(found["clip_id"].combine_chunks())
    with Lease(target.folder, say=say, of=OF_LABELS) as lease:
        before = target.labels_spec(name)
        spec = before or {"kind": HUMAN}
        # what a labeler left unfinished is its to finish
        is_whole = spec["kind"] == HUMAN or spec.get("whole", True)
        labeled = set(target.parts(labels_of(name)))
        _keep(target, name, labeled, clips, before)
        target.write_labels_spec(name, {**spec, "whole": False})
        for part in target.parts("clips"):
            _replace(target, name, part, clips, found, is_labeled=part in labeled)
            lease.check()
        target.write_labels_spec(name, {**spec, "whole": is_whole})
    return ImportSummary(name=name, clips=len(clips), labels=len(found))


def undo_import(
    store: str | PathLike[str], *, name: str, say: Callable[[str], None] = lambda line: None
) -> ImportSummary:
    """Give the clips of the last import of these labels what they had before it; done again, of the one before.

    What was imported or labeled since for the same clips goes with it. Arguments and errors as of `import_labels`.
    """
    target = Store(store)
    name = checked_name(name)
    with Lease(target.folder, say=say, of=OF_LABELS) as lease:
        imports = _kept(target, name)
        spec = target.labels_spec(name)
        if not imports or spec is None:
            raise UsageError(f"{target.url}/{labels_of(name)}: no import that could be undone")
        try:
            held = pa.ipc.open_file(target.folder.read_bytes(imports[-1])).read_all()
        except pa.ArrowInvalid as e:
            raise StoreError(f"{target.url}/{imports[-1]}: cannot be read as an Arrow file: {e}") from e
        before = json.loads(held.schema.metadata[SPEC])
        clips = pc.unique(held["clip_id"].combine_chunks())
        rows = held.filter(held["label"].is_valid())
        labeled = set(target.parts(labels_of(name)))
        for part in target.parts("clips"):
            _replace(target, name, part, clips, rows, is_labeled=part in labeled)
            lease.check()
        target.folder.remove(imports[-1])
        if before is None and spec["kind"] == HUMAN and not imports[:-1]:
            for table in ("labels", "video_labels"):
                target.folder.remove_tree(f"{table}/{name}")
    return ImportSummary(name=name, clips=len(clips), labels=len(rows))


def _replace(store: Store, name: str, part: int, clips: pa.Array, rows: pa.Table, *, is_labeled: bool) -> None:
    """Give some clips these rows and no others. Labels have as many parts as clips: one without rows is empty."""
    planned = store.read("clips", part, ["clip_id"])["clip_id"].combine_chunks()
    is_whole = is_labeled and store.folder.exists(part_file(video_labels_of(name), part))
    if is_whole and not pc.any(pc.is_in(planned, value_set=clips)).as_py():
        return
    held = _rows(store, name, part) if is_labeled else LABELS.empty_table()
    kept = held.filter(pc.invert(pc.is_in(held["clip_id"], value_set=clips)))
    both = pa.concat_tables([kept, rows.select(LABELS.names).cast(LABELS)])
    human, model = (both.filter(says(both["source"], HUMAN)) for says in (pc.equal, pc.not_equal))
    write_labels(store, name, part, model=model, human=human)


def _keep(store: Store, name: str, labeled: Collection[int], clips: pa.Array, spec: object) -> None:
    """Write down what clips have, so that it can be given back; a clip without labels has a row without one."""
    found = [LABELS.empty_table()]
    for part in sorted(labeled):
        rows = _rows(store, name, part)
        found.append(rows.filter(pc.is_in(rows["clip_id"], value_set=clips)))
    rows = pa.concat_tables(found)
    bare = clips.filter(pc.invert(pc.is_in(clips, value_set=rows["clip_id"].combine_chunks())))
    rows = pa.concat_tables([rows, pa.table({"clip_id": bare})], promote_options="default")
    rows = rows.replace_schema_metadata({SPEC: json.dumps(spec).encode()})
    # no Parquet, which other readers would take for labels
    place = f"{imports_of(name)}/{_next(_kept(store, name)):05d}.arrow"
    with store.folder.writing(place) as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)


def _next(imports: list[str]) -> int:
    return 1 + int(re.findall(r"\d+", imports[-1])[-1]) if imports else 0


def _kept(store: Store, name: str) -> list[str]:
    """What can be undone, oldest first."""
    return sorted(store.folder.sizes(imports_of(name)))


def _rows(store: Store, name: str, part: int) -> pa.Table:
    return store.read(labels_of(name), part).select(LABELS.names).cast(LABELS)
