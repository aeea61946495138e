"""Labels that people gave: from a CSV file to clips of a store, and into its tables."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vidray.errors import UsageError
from vidray.labels.tasks import is_tasks, labels_of_tasks
from vidray.media import Span
from vidray.storage import is_local, local_path, open_uri, place_of
from vidray.store import HUMAN, IDENTITY, LABELS, Store

COLUMNS = ("clip_id", "uri", "start_s", "end_s", "label", "source")
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
    source: str = ""

    @property
    def what(self) -> str:
        if self.clip_id is not None:
            return f"clip '{self.clip_id}'"
        return f"'{self.uri}'" if self.span is None else f"'{self.uri}' at {self.span[0]:g}-{self.span[1]:g} s"


def read_annotations(
    uri: str, *, any_source: bool = False, say: Callable[[str], None] = lambda line: None
) -> list[Annotation]:
    """The lines of a CSV file of labels, or the choices of tasks that Label Studio exported (`vidray.labels.tasks`).

    A column `label`, and either `clip_id` or `uri`; with `start_s` and `end_s` beside the URI a line is of this span of
    the video, else of all of it. Of a table that was exported, whose column `source` tells who gave a label, only what
    people gave is taken: a model's guesses are no truth to learn from. Other columns are passed over.

    Args:
        uri: Path or URL of the file.
        any_source: Take a model's labels for a person's, too.
        say: Called with a line on those that are left out.

    Raises:
        UsageError: The file is not there, has no such columns, no label of a person, or a line is not complete; with
            the line's number.
    """
    uri = place_of(uri, "labels")
    try:
        with open_uri(uri) as file:
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError as e:
        raise UsageError(f"{uri}: no such file") from e
    except IsADirectoryError as e:
        raise UsageError(f"{uri}: a folder; give a CSV file") from e
    except UnicodeDecodeError as e:
        raise UsageError(f"{uri}: not UTF-8 text; save it as CSV in UTF-8") from e
    if is_tasks(text):
        return [Annotation(task, label, clip_id=clip) for task, clip, label in labels_of_tasks(uri, text)]
    try:
        found = _annotations(uri, csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as e:
        raise UsageError(f"{uri}: cannot be read as CSV: {e}") from e
    return found if any_source else _of_people(uri, found, say)


def _of_people(uri: str, found: Sequence[Annotation], say: Callable[[str], None]) -> list[Annotation]:
    theirs = [line for line in found if line.source in ("", HUMAN)]
    others = Counter(line.source for line in found if line.source not in ("", HUMAN))
    if not others:
        return theirs
    counts = ", ".join(f"{count:,} of {source}" for source, count in others.most_common())
    if not theirs:
        raise UsageError(
            f"{uri}: no label of a person, only a model's ({counts}); --any-source takes them for a person's"
        )
    say(f"{uri}: left out {others.total():,} labels that a model gave ({counts}); --any-source takes them too")
    return theirs


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
    clip_id, video, start, end, label, source = ((row.get(name) or "").strip() for name in COLUMNS)
    if not label:
        raise UsageError(f"{uri} line {line}: no label")
    if clip_id:
        return Annotation(line, label, clip_id=clip_id, source=source)
    if not video:
        raise UsageError(f"{uri} line {line}: neither a clip_id nor a uri")
    if not start and not end:
        return Annotation(line, label, uri=video, source=source)
    try:
        span = float(start), float(end)
    except ValueError:
        span = 0.0, 0.0
    if not 0 <= span[0] < span[1]:
        raise UsageError(f"{uri} line {line}: must be seconds, 0 <= start_s < end_s, got {start!r} and {end!r}")
    return Annotation(line, label, uri=video, span=span, source=source)


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
    store.check_planned()
    by_clip: dict[str, list[Annotation]] = defaultdict(list)
    by_uri: dict[str, list[Annotation]] = defaultdict(list)
    lines = list(annotations)
    meant = _Uris(store, {line.uri for line in lines if line.uri is not None})
    for line in lines:
        if line.clip_id is not None:
            by_clip[line.clip_id].append(line)
        elif line.uri is not None:
            for uri in meant.of(line.uri):
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
        named = "; ".join(f"line {line.line}: {line.what}{meant.why_not(line.uri)}" for line in unused[:NAMED])
        more = f"; and {len(unused) - NAMED:,} more lines" if len(unused) > NAMED else ""
        if len(unused) == len(lines):
            raise UsageError(f"{source}: no clip of {store.url} is meant by {named}{more}{meant.example}")
        left_out = f"left out {len(unused):,} of {len(lines):,} labels, which mean no clip of {store.url}"
        say(f"{source}: {left_out}: {named}{more}{meant.example}")
    return pa.Table.from_pylist(found, LABELS)


class _Uris:
    """Which videos of a store are meant by URIs as people write them: whole, or by last steps that no other has.

    Attributes:
        example: For a message: what a URI of the store looks like.
    """

    def __init__(self, store: Store, written: Collection[str]) -> None:
        self._same = {uri: {uri, local_path(uri) if is_local(uri) else uri} for uri in written}
        self._found: dict[str, set[str]] = {uri: set() for uri in written}
        ends: dict[str, list[str]] = defaultdict(list)
        for uri in written:
            ends[uri.rpartition("/")[2]].append(uri)
        self.example = ""
        for part in store.parts("clips"):
            for uri in store.read("videos", part, ["uri"])["uri"].drop_null().to_pylist():
                self.example = self.example or f"; a URI of the store looks like '{uri}'"
                for short in ends.get(uri.rpartition("/")[2], ()):
                    if uri in self._same[short] or uri.endswith("/" + short.removeprefix("./")):
                        self._found[short].add(uri)

    def of(self, written: str) -> set[str]:
        """The URI that is meant, none where there is none or there are several."""
        same = self._found[written] & self._same[written]
        return same or (self._found[written] if len(self._found[written]) == 1 else set())

    def why_not(self, written: str | None) -> str:
        """For a message: the videos that a URI may mean, where it may mean several."""
        several = sorted(self._found[written]) if written is not None and not self.of(written) else []
        return f" (is it {' or '.join(several[:NAMED])}?)" if several else ""


def _wanted(clips: pa.Table, ids: pa.Array, uris: pa.Array) -> pa.Table:
    of_clip = pc.is_in(clips["clip_id"], value_set=ids)
    of_uri = pc.is_in(clips["uri"], value_set=uris)
    return clips.filter(pc.or_(of_clip, of_uri))


def _shares(span: Span, clip: Span) -> bool:
    shared = min(span[1], clip[1]) - max(span[0], clip[0])
    return shared >= LEAST_SHARED * min(span[1] - span[0], clip[1] - clip[0])
