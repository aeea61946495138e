"""From a clip, a video, an image, a sound or a text to the clips of a store that are most like it.

A query is embedded by exactly the extractor that made the table, as its `_spec.json` says. A text is embedded by the
text tower of a joint model, or else compared with the classes that a network found. Knows no Ray.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray.arguments import check_extractor, check_text_or_none, check_whole
from vidray.errors import DecodeError, ExtractError, MediaError, UsageError, one_line
from vidray.extractors import ExtractFn, Extractor
from vidray.extractors.answers import matrix_of, to_arrow
from vidray.extractors.inputs import samplings_of
from vidray.extractors.spec import modalities, suitability
from vidray.index.files import current
from vidray.media import Clip, ClipInput, Sampling, Span, VideoInfo, span_read, with_context
from vidray.planning import FixedStride, cut_alike
from vidray.retrieval.answers import Answer, Ask, ByVectors, videos
from vidray.retrieval.hits import SearchResult
from vidray.retrieval.indexed import check_same, indexed_table, open_table, other_index, suiting, the_only
from vidray.retrieval.networks import Networks
from vidray.retrieval.text_sources import by_text, extractor_name, modality_of
from vidray.sandbox import Sandbox, frames_of
from vidray.storage import Folder, open_uri, place_of
from vidray.store import Store
from vidray.store.layout import features_of, index_of
from vidray.wording import counted

if TYPE_CHECKING:
    from vidray.index import Index

DEFAULT_PLAN = FixedStride().config
ROUNDED_S = 0.5
"""A span may end this far behind its video, and is cut: who types 8-10 of a video of 9.96 s means its end."""

MODALITIES = ("frames", "audio", "speech", "screen", "description")
LOOK_EVERY_S = 2.0

Vectors = npt.NDArray[np.float32]


PLACES = frozenset({"video", "image", "audio"})
"""Queries that are files."""


def open_index(store: str | PathLike[str], *, extractor: str, verify: bool = False) -> Index:
    """Open the index of one extractor's table; with `verify` all its files are hashed.

    Raises:
        UsageError: There is no index of this extractor.
        IndexFileError: It is damaged, or of a type or format that is not opened.
    """
    check_extractor(extractor=extractor)
    held = Store(store)
    return open_table(held, indexed_table(held, extractor), verify=verify)


def open_search(store: str | PathLike[str]) -> Searcher:
    """A searcher of a store, for many queries: networks, indexes and identities are loaded once, when first needed."""
    held = Store(store)
    held.check_there()
    return Searcher(held)


def search(store: str | PathLike[str], **query: Any) -> SearchResult:
    """The k clips of a store most like a clip, a video, an image or a sound, or that a text fits best.

    Takes what `Searcher.search` takes. For many queries, `open_search` loads networks and indexes once.
    """
    return open_search(store).search(**query)


class Searcher:
    """Searches one store. Thread-safe; an index that is built anew is taken up within two seconds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._networks = Networks()
        self._opening = threading.Lock()
        self._indexes: dict[str, _Opened] = {}

    def search(
        self,
        *,
        clip: str | None = None,
        video: str | PathLike[str] | None = None,
        at: Span | None = None,
        image: str | PathLike[str] | None = None,
        audio: str | PathLike[str] | None = None,
        text: str | None = None,
        vectors: npt.ArrayLike | None = None,
        modality: str | None = None,
        extractor: str | Extractor | None = None,
        k: int = 10,
        by: Literal["clip", "video"] = "clip",
        where: str | None = None,
        explain: bool = False,
    ) -> SearchResult:
        """The k clips most like a clip, a video, an image, a sound or vectors, or that a text fits best.

        By cosine of their embeddings, or by inner product where the index is one of that; for a text and a table
        without a text model, by the classes found in the clips (`vidray.labels.class_names`), which takes no index.
        Each hit says by which modality and extractor it was found.

        Args:
            clip: The id of a clip of the store. It is not among its own hits.
            video: A path or URL; it need not be in the corpus. It is cut into clips as the store's videos are, and a
                hit's score is the best over these.
            at: The span [start_s, end_s) of `video` to search for, as one clip, instead of all of it. It may end half
                a second behind the video, and is cut there.
            image: A path or URL of a frame, which answers as a video of this one frame would.
            audio: A path or URL of a sound, or of a video whose audio is meant; cut into clips as `video` is.
            text: What to look for, in words: "a dog", "people talking".
            vectors: Embeddings, (Q, dim) or (dim,); a hit's score is the best over these.
            modality: `frames` or `audio`: what is to be alike; `speech`, `screen` or `description`: where a text is
                said or written, or of what it is a sentence about frames.
                By default whatever suits the query.
            extractor: Whose index, or table for a text; the object or `module:Class` that made it, where it is your
                own. By default the only one there is, or the only one that suits the query: frames for an image or a
                video, audio for a sound; for a text all that it can be compared with, whose scores mean the same.
            k: How many hits; fewer come back where the store, or the filter, has fewer.
            by: Whether hits are clips, or videos with the spans that were found in them.
            where: An SQL expression over the columns of the store's tables; one that several tables have is named as
                `table.column`. Labels of a name are `name.labels['dog'] > 0.5`.
            explain: Say how the answer came about.

        Raises:
            UsageError: Not exactly one query; no index, or several that suit; a span outside the video; a file that is
                not there; a filter that DuckDB refuses.
            MediaError: The query cannot be read, or has no frame, or no audio, where the extractor needs it.
            IndexFileError: The index is damaged.
        """
        queries = {"clip": clip, "video": video, "image": image, "audio": audio, "text": text, "vectors": vectors}
        given = {kind: value for kind, value in queries.items() if value is not None}
        if len(given) != 1:
            raise UsageError(f"give exactly one of {', '.join(queries)}, got {', '.join(given) or 'none'}")
        if at is not None and video is None:
            raise UsageError("a span (at) goes with a video only")
        if modality not in (None, *MODALITIES) or by not in ("clip", "video"):
            raise UsageError(f"modality is {' or '.join(MODALITIES)}, by is clip or video; got {modality!r}, {by!r}")
        check_extractor(extractor=extractor)
        check_whole(k=k)
        check_text_or_none(clip=clip, text=text, where=where)
        if text is not None and not text.strip():
            raise UsageError("a text to look for must have a word in it, got none")
        if k < 1:
            raise UsageError(f"k must be at least 1, got {k}")
        for name in PLACES & given.keys():
            given[name] = place_of(cast(Any, given[name]), name)
        ((kind, value),) = given.items()
        ask = Ask(kind=kind, value=value, at=at, modality=modality, extractor=extractor, where=where, explain=explain)
        answer: Answer = (
            by_text(self.store, self._networks, ask, self.index) if kind == "text" else self._by_vectors(ask)
        )
        hits: Any = answer.hits(k) if by == "clip" else videos(answer, k)
        extractor_of_best = extractor_name(self.store, answer.table)
        of_table = {"modality": modality_of(self.store.spec(answer.table) or {}), "extractor": extractor_of_best}
        query = {kind: value for kind, value in given.items() if kind != "vectors"}
        query |= {name: value for name, value in (("at", at and list(at)), ("where", where)) if value is not None}
        return SearchResult(
            query=query,
            extractor=extractor_of_best,
            hits=[hit if hit.extractor is not None else replace(hit, **of_table) for hit in hits],
            notes=answer.notes(),
            explanation=answer.explanation() if explain else None,
        )

    def index(self, table: str) -> Index:
        """The index of a table, opened once; another version is opened when there is one. Raises IndexFileError."""
        folder = Folder(f"{self.store.url}/{index_of(table)}")
        with self._opening:
            known = self._indexes.get(table)
            if known is None or time.monotonic() - known.looked_at > LOOK_EVERY_S:
                now = current(folder)
                if known is None or known.version != now:
                    known = _Opened(open_table(self.store, table), now)
                self._indexes[table] = known
                known.looked_at = time.monotonic()
            return known.index

    def _by_vectors(self, ask: Ask) -> ByVectors:
        if ask.kind in PLACES:
            # which index is asked only of what there is
            _opened(ask.value).close()
        table = self._table(ask) if ask.extractor is None else indexed_table(self.store, ask.extractor)
        index = self.index(table)
        notes: tuple[str, ...] = ()
        if ask.kind == "vectors":
            vectors = np.atleast_2d(np.asarray(ask.value, dtype=np.float32))
        elif ask.kind == "clip":
            vectors = index.vector(ask.value)[None, :]
        else:
            vectors, notes = _embed(
                self.store, table, self._networks, ask.extractor, index, ask.kind, ask.value, ask.at
            )
        return ByVectors(self.store.url, table, index, vectors, ask, notes)

    def _table(self, ask: Ask) -> str:
        """The only table whose index suits a query by a file, vectors or a clip; of a clip, that has it."""
        names = suiting(self.store, "clip" if ask.kind == "vectors" else ask.kind, ask.modality)
        if ask.kind == "clip" and len(names) > 1:
            names = [name for name in names if self._has(name, ask.value)] or names[:1]
        if ask.where is not None and len(names) > 1:
            # a filter that is refused is so by each of them
            self.index(names[0]).filter(ask.where)
        return the_only(self.store, names)

    def _has(self, table: str, clip_id: str) -> bool:
        try:
            self.index(table).vector(clip_id)
        except UsageError:
            return False
        return True


@dataclass
class _Opened:
    index: Index
    version: tuple[str, str]
    looked_at: float = -math.inf


def _embed(
    store: Store,
    table: str,
    networks: Networks,
    given: str | Extractor | None,
    index: Index,
    kind: str,
    uri: str,
    at: Span | None,
) -> tuple[Vectors, tuple[str, ...]]:
    """The embeddings of a query's clips, (Q, dim), and a note where some of them cannot be used."""
    spec = store.spec(table)
    if spec is None:
        raise UsageError(f"{store.url}/{features_of(table)} does not say what made it; search it by clip")
    check_same(store, table, index)
    extractor = networks.extractor(spec, given)
    samplings = samplings_of(extractor)
    if not samplings or suitability(spec, kind) is None:
        about = " and ".join(sorted(modalities(spec)))
        raise UsageError(
            f"{extractor.name} is about {about}, it cannot be asked by {kind}; {other_index(store, kind, table)}"
        )
    with contextlib.closing(Sandbox()) as sandbox:
        if kind == "image":
            ((name, sampling),) = samplings.items()
            clip = _clip(uri, 0, (0.0, sampling.unit_s))
            items: Iterator[Any] = iter([_item(clip, {name: sandbox.image(uri, sampling)})])
            return _vectors(items, extractor, networks.loaded(spec, given), uri)
        info = sandbox.probe(uri)
        spans = _spans(store, info, extractor, uri, at, sandbox)
        items = (_read(sandbox, uri, i, span, info, samplings) for i, span in enumerate(spans))
        return _vectors(items, extractor, networks.loaded(spec, given), uri)


def _read(
    sandbox: Sandbox, uri: str, index: int, span: Span, info: VideoInfo, samplings: Mapping[str, Sampling]
) -> ClipInput | MediaError | None:
    """What an extractor is given of one clip of a query; None where the clip has nothing of the kind."""
    around = {name: with_context(sampling, *span, info.duration_s) for name, sampling in samplings.items()}
    requests = {
        name: sampling.request(*span_read(sampling, *span, info.duration_s)) for name, sampling in samplings.items()
    }
    decoded = sandbox.read(uri, list(requests.values()), *span, (info.height or 0, info.width or 0))
    values: dict[str, Any] = {}
    for name, sampling in samplings.items():
        answer = decoded.samples[requests[name]]
        if isinstance(answer, MediaError):
            return answer
        values[name] = None if answer is None else sampling.collect(answer, *around[name])
    return None if all(value is None for value in values.values()) else _item(_clip(uri, index, span), values)


def _clip(uri: str, index: int, span: Span) -> Clip:
    return Clip(clip_id="", video_id="", uri=uri, clip_index=index, start_s=span[0], end_s=span[1])


def _item(clip: Clip, values: Mapping[str, Any]) -> ClipInput:
    return ClipInput(clip=clip, values=values)


def _opened(uri: str) -> BinaryIO:
    try:
        return open_uri(uri)
    except FileNotFoundError as e:
        raise UsageError(f"{uri}: no such file") from e
    except IsADirectoryError as e:
        raise UsageError(f"{uri}: a folder; give one file") from e
    except OSError as e:
        raise DecodeError("unreadable", one_line(e)[:200], uri) from e


def _spans(
    store: Store, info: VideoInfo, extractor: Extractor, uri: str, at: Span | None, sandbox: Sandbox
) -> list[Span]:
    sees = {sampling.modality for sampling in samplings_of(extractor).values()}
    if sees == {"audio"} and info.audio_codec is None:
        raise DecodeError("no_stream", f"no audio in this file, and {extractor.name} hears nothing else", uri)
    if "frames" in sees and info.video_codec is None:
        raise DecodeError("no_stream", f"no frame in this file, which {extractor.name} needs", uri)
    if at is None:
        # cut as the store's own videos were
        plan = (store.config() or {}).get("plan") or DEFAULT_PLAN
        return cut_alike(plan, info, frames_of(sandbox, uri, info))
    start_s, end_s = map(float, at)
    if not (0 <= start_s < min(end_s, info.duration_s) and end_s <= info.duration_s + ROUNDED_S):
        raise UsageError(f"{uri}: a span must lie in 0-{info.duration_s:.3f} s, got {start_s:g}-{end_s:g}")
    return [(start_s, min(end_s, info.duration_s))]


def _vectors(
    samples: Iterator[ClipInput | MediaError | None], extractor: Extractor, extract: ExtractFn, uri: str
) -> tuple[Vectors, tuple[str, ...]]:
    """One clip at a time: a long query takes no more memory than a short one."""
    vectors: list[Vectors] = []
    errors: list[MediaError] = []
    count = 0
    for sample in samples:
        count += 1
        try:
            if isinstance(sample, MediaError):
                raise sample
            if sample is not None:
                vectors.append(_embedding(extract, sample, extractor.schema, uri))
        except MediaError as e:
            errors.append(e)
    if not vectors:
        raise errors[0] if errors else DecodeError("empty", f"nothing here that {extractor.name} can use", uri)
    unused = count - len(vectors)
    notes = (f"{uri}: {unused} of {counted(count, 'clip')} cannot be used",) if unused else ()
    return np.stack(vectors), notes


def _embedding(extract: ExtractFn, item: ClipInput, schema: pa.Schema, uri: str) -> Vectors:
    try:
        rows, _ = matrix_of(to_arrow(extract([item]), schema, 1)["embedding"])
        vector: Vectors = rows[0]
    except Exception as e:
        reason = f"{type(e).__name__}: {one_line(e)[:300]}"
        raise ExtractError("extractor", reason, uri) from e
    if not np.isfinite(vector).all() or not vector.any():
        raise ExtractError("extractor", "its embedding is zero or not finite", uri)
    return vector
