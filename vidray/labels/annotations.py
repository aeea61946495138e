"""Labels that people gave: from a CSV file to clips of a store, and into its tables."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import UsageError
from vidray.labels.labeling import write_labels
from vidray.media import Span
from vidray.storage import is_local, local_path, open_uri
from vidray.store import HUMAN, IDENTITY, LABELS, Store
from vidray.store.lease import Lease
from vidray.store.tables import checked_name

COLUMNS = ("clip_id", "uri", "start_s", "end_s", "label")
LEAST_SHARED = 0.5
NAMED = 3


@dataclass(frozen=True)
class Annotation:
    """One line of a file of labels: a clip by its id, or a video or a span of it by its URI."""

    line: int
    label: str
    clip_id: str | None = None
    uri: str | None = None
    span: Span | None = None

    @property
    def what(self) -> str:
        if self.clip_id is not None:
            return f"clip '{self.clip_id}'"
        return f"'{self.uri}'" if self.span is None else f"'{self.uri}' at {self.span[0]:g}-{self.span[1]:g} s"


@dataclass(frozen=True, kw_only=True)
class ImportSummary:
    """What `import_labels` did.

    Attributes:
        name: Of the labels, `labels/<name>/`.
        clips: That the file has labels for.
        labels: Rows written, one a label.
    """

    name: str
    clips: int
    labels: int


def import_labels(
    store: str, labels: str, *, name: str, say: Callable[[str], None] = lambda line: None
) -> ImportSummary:
    """Write people's labels from a CSV file into `labels/<name>/` and `video_labels/<name>/`.

    They have the source `human` and the score 1, and stand above a model's labels of the same name: what a model said
    of these clips goes, and no model's labels come to them later. A clip that had people's labels before has those of
    the file instead; other clips keep what they have.

    Args:
        store: fsspec URL of a store.
        labels: Path or URL of the file; its columns are as `read_annotations` says.
        name: Of the labels.
        say: Called with a line where another run holds the store, or lines of the file are of no clip.

    Raises:
        UsageError: There is no store or no such file, no line is of a clip of the store, or the name cannot be one.
        StoreError: The store cannot be read, or is being written by another run.
    """
    target = Store(store)
    name = checked_name(name)
    found = labeled_clips(target, read_annotations(labels), labels, say=say)
    with Lease(target.folder, say=say) as lease:
        spec = target.labels_spec(name) or {"kind": HUMAN}
        # what a labeler left unfinished is its to finish
        is_whole = spec["kind"] == HUMAN or spec.get("whole", True)
        target.write_labels_spec(name, {**spec, "whole": False})
        held = set(target.parts(f"labels/{name}"))
        for part in target.parts("clips"):
            _import_part(target, name, part, found, is_labeled=part in held)
            lease.check()
        target.write_labels_spec(name, {**spec, "whole": is_whole})
    return ImportSummary(name=name, clips=pc.count_distinct(found["clip_id"]).as_py(), labels=len(found))


def _import_part(store: Store, name: str, part: int, found: pa.Table, *, is_labeled: bool) -> None:
    """Where a part has no labels yet it gets an empty file: labels have as many parts as clips."""
    clips = store.read("clips", part, ["clip_id"])["clip_id"].combine_chunks()
    new = found.filter(pc.is_in(found["clip_id"], value_set=clips))
    if is_labeled and not len(new):
        return
    held = store.read(f"labels/{name}", part).select(LABELS.names).cast(LABELS) if is_labeled else LABELS.empty_table()
    model, old = (held.filter(says(held["source"], HUMAN)) for says in (pc.not_equal, pc.equal))
    old = old.filter(pc.invert(pc.is_in(old["clip_id"], value_set=new["clip_id"].combine_chunks())))
    write_labels(store, name, part, model=model, human=pa.concat_tables([old, new]))


def read_annotations(uri: str) -> list[Annotation]:
    """The lines of a CSV file of labels.

    A column `label`, and either `clip_id` or `uri`; with `start_s` and `end_s` beside the URI a line is of this span of
    the video, else of all of it. Other columns are passed over, so that an exported table can be read as it is.

    Raises:
        UsageError: The file is not there, has no such columns, or a line is not complete; with the line's number.
    """
    try:
        with open_uri(uri) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError as e:
        raise UsageError(f"{uri}: no such file") from e
    except IsADirectoryError as e:
        raise UsageError(f"{uri}: a folder; give a CSV file") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{uri}: not UTF-8 text; save it as CSV in UTF-8") from e
    try:
        return _annotations(uri, csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as e:
        raise UsageError(f"{uri}: cannot be read as CSV: {e}") from e


def _annotations(uri: str, reader: csv.DictReader[str]) -> list[Annotation]:
    columns = set(reader.fieldnames or ())
    if "label" not in columns or not columns & {"clip_id", "uri"}:
        there = ", ".join(reader.fieldnames or ()) or "none"
        raise UsageError(
            f"{uri}: must have the columns clip_id,label or uri,label or uri,start_s,end_s,label; has {there}"
        )
    found = [_annotation(uri, reader.line_num, row) for row in reader]
    if not found:
        raise UsageError(f"{uri}: no labels in it")
    return found


def _annotation(uri: str, line: int, row: Mapping[str | None, str | None]) -> Annotation:
    clip_id, video, start, end, label = ((row.get(name) or "").strip() for name in COLUMNS)
    if not label:
        raise UsageError(f"{uri} line {line}: no label")
    if clip_id:
        return Annotation(line, label, clip_id=clip_id)
    if not video:
        raise UsageError(f"{uri} line {line}: neither a clip_id nor a uri")
    if not start and not end:
        return Annotation(line, label, uri=video)
    try:
        span = float(start), float(end)
    except ValueError:
        span = 0.0, 0.0
    if not 0 <= span[0] < span[1]:
        raise UsageError(f"{uri} line {line}: must be seconds, 0 <= start_s < end_s, got {start!r} and {end!r}")
    return Annotation(line, label, uri=video, span=span)


def labeled_clips(
    store: Store, annotations: Iterable[Annotation], source: str, *, say: Callable[[str], None] = lambda line: None
) -> pa.Table:
    """The clips that lines are of, one row a clip and label, as `LABELS`, in plan order.

    A span labels the clips that it shares at least half of the shorter of the two with. Lines of no clip, as of videos
    that have changed, are left out.

    Args:
        store: With a plan.
        annotations: The lines.
        source: The file's name, for messages.
        say: Called with a line on those that are left out; the first are named.

    Raises:
        UsageError: There is no store, or no line is of a clip of it.
    """
    if store.config() is None:
        raise UsageError(f"{store.url}: no vidray store there (no vidray.json)")
    by_clip: dict[str, list[Annotation]] = defaultdict(list)
    by_uri: dict[str, list[Annotation]] = defaultdict(list)
    lines = list(annotations)
    for line in lines:
        if line.clip_id is not None:
            by_clip[line.clip_id].append(line)
        elif line.uri is not None:
            for uri in {line.uri, local_path(line.uri) if is_local(line.uri) else line.uri}:
                by_uri[uri].append(line)
    ids, uris = pa.array(list(by_clip), pa.string()), pa.array(list(by_uri), pa.string())
    used: set[int] = set()
    found: list[dict[str, object]] = []
    for part in store.parts("clips"):
        for clip in _wanted(store.read("clips", part, IDENTITY.names), ids, uris).to_pylist():
            here = [*by_clip.get(clip["clip_id"], ()), *by_uri.get(clip["uri"], ())]
            here = [line for line in here if line.span is None or _shares(line.span, (clip["start_s"], clip["end_s"]))]
            used.update(line.line for line in here)
            labels = dict.fromkeys(line.label for line in here)
            found += [{**clip, "label": label, "score": 1.0, "source": HUMAN} for label in labels]
    unused = [line for line in lines if line.line not in used]
    if unused:
        named = "; ".join(f"line {line.line}: {line.what}" for line in unused[:NAMED])
        more = f"; and {len(unused) - NAMED:,} more lines" if len(unused) > NAMED else ""
        if len(unused) == len(lines):
            raise UsageError(f"{source}: no clip of {store.url} is meant by {named}{more}")
        left_out = f"left out {len(unused):,} of {len(lines):,} labels, which mean no clip of {store.url}"
        say(f"{source}: {left_out}: {named}{more}")
    return pa.Table.from_pylist(found, LABELS)


def _wanted(clips: pa.Table, ids: pa.Array, uris: pa.Array) -> pa.Table:
    of_clip = pc.is_in(clips["clip_id"], value_set=ids)
    of_uri = pc.is_in(clips["uri"], value_set=uris)
    return clips.filter(pc.or_(of_clip, of_uri))


def _shares(span: Span, clip: Span) -> bool:
    shared = min(span[1], clip[1]) - max(span[0], clip[0])
    return shared >= LEAST_SHARED * min(span[1] - span[0], clip[1] - clip[0])
