"""From a clip, a video, an image, a sound or a text to the clips of a store that are most like it.

A query is embedded by exactly the extractor that made the table, as its `_spec.json` says. A text is embedded by the
text tower of a joint model, or else compared with the classes that a network found. Knows no Ray.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vidray import index as indexes
from vidray.errors import DecodeError, ExtractError, MediaError, UsageError, one_line
from vidray.extractors import ExtractFn, Extractor, restore, slug
from vidray.extractors.answers import matrix_of, to_arrow
from vidray.extractors.inputs import samplings_of
from vidray.extractors.registry import origin_of
from vidray.extractors.spec import given_for, has_classes, hears, modalities, suitability
from vidray.index import Index, IndexInfo, Matches
from vidray.index.files import CURRENT
from vidray.labels.class_names import ClassNames
from vidray.labels.joint import JointModel
from vidray.labels.zero_shot import zero_shot
from vidray.media import Clip, ClipInput, Sampling, Span, VideoInfo, with_context
from vidray.planning import FixedStride, cut_alike
from vidray.retrieval.by_text import best_clips
from vidray.sandbox import Sandbox, frames_of
from vidray.storage import open_uri
from vidray.store import Store, spec_sha256
from vidray.store.tables import features_table, named, text_table

DEFAULT_PLAN = FixedStride().config
ROUNDED_S = 0.5
"""A span may end this far behind its video, and is cut: who types 8-10 of a video of 9.96 s means its end."""

UNLIKELY = 0.1
"""Below such a score a text is wrong for nine clips of ten and more: docs/labels.md."""
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One clip that was found.

    Attributes:
        uri: None, as start_s and end_s are, where the table does not say; vidray's own tables do.
        score: Cosine, in [-1, 1]; for a text that is compared with classes, as `ClassNames` has it, in [0, 1].
    """

    clip_id: str
    uri: str | None
    start_s: float | None
    end_s: float | None
    score: float


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What was asked, by whose embeddings it was answered, and the clips found, best first.

    Attributes:
        notes: One line each on what a person should know: clips that the index does not have yet, say.
    """

    query: dict[str, Any]
    extractor: str
    hits: list[Hit]
    notes: tuple[str, ...] = ()


def build_index(store: str, *, extractor: str) -> IndexInfo:
    """Build the index of one extractor's table, `index/<extractor>/`, and replace the one that is there.

    Raises:
        UsageError: The store has no such table, or it has no embeddings.
        StoreError: A part of the table cannot be read.
    """
    held = Store(store)
    table = features_table(held, extractor)
    return indexes.build_index(f"{held.url}/features/{table}", f"{held.url}/index/{table}")


def open_index(store: str, *, extractor: str, verify: bool = False) -> Index:
    """Open the index of one extractor's table; with `verify` all its files are hashed.

    Raises:
        UsageError: There is no index of this extractor.
        IndexFileError: It is damaged, or of a type or format that is not opened.
    """
    held = Store(store)
    return _open(held, _indexed_table(held, extractor), verify=verify)


def search(
    store: str,
    *,
    clip: str | None = None,
    video: str | None = None,
    at: Span | None = None,
    image: str | None = None,
    audio: str | None = None,
    text: str | None = None,
    extractor: str | Extractor | None = None,
    k: int = 10,
    where: str | None = None,
) -> SearchResult:
    """The k clips of a store most like a clip, a video, an image or a sound, or that a text fits best.

    By cosine of their embeddings; for a text and a table without a text model, by the classes found in the clips
    (`vidray.labels.class_names`), which takes no index.

    Args:
        store: fsspec URL of a store with an index.
        clip: The id of a clip of the store. It is not among its own hits.
        video: A path or URL; it need not be in the corpus. It is cut into clips as the store's videos are, and a hit's
            score is the best over these.
        at: The span [start_s, end_s) of `video` to search for, as one clip, instead of all of it. It may end half a
            second behind the video, and is cut there.
        image: A path or URL of a frame, which answers as a video of this one frame would.
        audio: A path or URL of a sound, or of a video whose audio is meant; cut into clips as `video` is.
        text: What to look for, in words: "a dog", "people talking".
        extractor: Whose index, or table for a text; the object or `module:Class` that made it, where it is your own.
            By default the only one there is, or the only one that suits the
            query: frames for an image or a video, audio for a sound; for a text a joint model, else classes of
            frames or of sounds, whichever answer better.
        k: How many hits; fewer come back where the store, or the filter, has fewer.
        where: An SQL expression over the columns of the table, of the store's clips and videos, and of its other tables
            of features, such as `quality`; a name that several have is of the first of these.

    Raises:
        UsageError: Not exactly one query; no index, or several that suit; a span outside the video; a file that is
            not there; a filter that DuckDB refuses.
        MediaError: The query cannot be read, or has no frame, or no audio, where the extractor needs it.
        IndexFileError: The index is damaged.
    """
    queries = {"clip": clip, "video": video, "image": image, "audio": audio, "text": text}
    given = {kind: value for kind, value in queries.items() if value is not None}
    if len(given) != 1:
        raise UsageError(f"give exactly one of clip, video, image, audio and text, got {', '.join(given) or 'none'}")
    if at is not None and video is None:
        raise UsageError("a span (at) goes with a video only")
    ((kind, value),) = given.items()
    held = Store(store)
    if kind == "text":
        table, hits, notes = _by_text(held, value, extractor, k, where)
    else:
        table = _indexed_table(held, extractor) if extractor is not None else _suiting(held, kind)
        index = _open(held, table)
        own = given_for(held.spec(table) or {}, extractor)
        vectors, notes = (None, ()) if kind == "clip" else _embed(held, table, own, index, kind, value, at)
        matches = _like_clip(index, value, k, where) if vectors is None else index.search(vectors, k, where)
        hits, notes = _hits(index, matches, k), (*notes, *_staleness(index, store, table))
    query = {**given, **({} if at is None else {"at": list(at)}), **({} if where is None else {"where": where})}
    name = (held.spec(table) or {}).get("name", table)
    return SearchResult(query=query, extractor=name if slug(name) == table else table, hits=hits, notes=notes)


def _by_text(
    store: Store, text: str, extractor: str | Extractor | None, k: int, where: str | None
) -> tuple[str, list[Hit], tuple[str, ...]]:
    """The table that answers, the clips that a text fits best, and notes for a person.

    Where classes of frames and of sounds are there and none is named, both are asked, whose scores are calibrated
    alike, each on its own data; the answer is that of the better best clip.
    """
    table = text_table(store, extractor)
    spec = store.spec(table) or {}
    labeler = zero_shot(table, spec, [text], given_for(spec, extractor))
    if isinstance(labeler, JointModel):
        index = _open(store, _indexed_table(store, table))
        _check_same(store, table, index)
        matches = index.search(labeler.vectors, k, where)
        return table, _hits(index, matches, k), _staleness(index, store.url, table)
    asked = {table: labeler}
    if extractor is None and not hears(spec):
        specs = {other: store.spec(other) or {} for other in store.tables("features")}
        heard = [other for other, made_by in specs.items() if has_classes(made_by) and hears(made_by)]
        asked |= {other: ClassNames(other, labeler.prompts, "audio") for other in heard}
    answers = {name: _by_classes(store, by, k, where) for name, by in asked.items()}
    best = max(answers, key=lambda name: answers[name][0].score if answers[name] else 0.0)
    said = {name: "what is heard" if by.sense == "audio" else "what is seen" for name, by in asked.items()}
    hits = answers[best]
    others = [name for name in asked if name != best and hits]
    notes = [f"answered by {said[best]}; for {said[other]}: -x {other}" for other in others]
    if hits and hits[0].score < UNLIKELY:
        notes.append(f"no clip is likely to be of '{text}': the network of {best} may have no such class")
    return best, hits, tuple(notes)


def _by_classes(store: Store, labeler: ClassNames, k: int, where: str | None) -> list[Hit]:
    return [Hit(**row) for row in best_clips(store, labeler, k, where).to_pylist()]


def _indexed_table(store: Store, extractor: str | Extractor) -> str:
    extractor = extractor if isinstance(extractor, str) else origin_of(extractor)
    names = _indexed(store)
    table = named(store, names, extractor)
    if table is not None:
        return table
    there = f"there are {', '.join(names)}" if names else "there is none"
    raise UsageError(f"{store.url}: no index of '{extractor}', {there}; run vidray index STORE -x {extractor}")


def _indexed(store: Store) -> list[str]:
    names = (name.split("/") for name in store.folder.sizes("index"))
    return sorted(name[1] for name in names if len(name) == 3 and name[2] == CURRENT)


def _suiting(store: Store, kind: str) -> str:
    """The only index there is, or the only one that suits the query."""
    names = _indexed(store)
    if not names:
        raise UsageError(f"{store.url}: no index yet; run vidray index STORE -x NAME")
    if len(names) == 1:
        return names[0]
    ranks = {name: suitability(store.spec(name) or {}, kind) for name in names}
    suiting = {name: rank for name, rank in ranks.items() if rank is not None}
    if suiting:
        names = [name for name, rank in suiting.items() if rank == min(suiting.values())]
        if len(names) == 1:
            return names[0]
    raise UsageError(f"{store.url}: {', '.join(names)} can answer this; say which, with -x NAME")


def _open(store: Store, table: str, *, verify: bool = False) -> Index:
    # the table's place is known here, so that a manifest cannot send its reader elsewhere
    features = f"{store.url}/features/{table}"
    return indexes.open_index(f"{store.url}/index/{table}", verify=verify, features=features)


def _like_clip(index: Index, clip_id: str, k: int, where: str | None) -> Matches:
    vector = index.vector(clip_id)
    matches = index.search(vector, k + 1 if k > 0 else k, where)
    others = matches.ids[0] != clip_id
    return replace(
        matches,
        ids=matches.ids[:, others][:, :k],
        scores=matches.scores[:, others][:, :k],
        rows=matches.rows[:, others][:, :k],
    )


def _hits(index: Index, matches: Matches, k: int) -> list[Hit]:
    """The best k clips over all query vectors; a clip's score is its best."""
    rows, scores = matches.rows.ravel(), matches.scores.ravel()
    order = np.lexsort((rows, -scores))
    _, firsts = np.unique(rows[order], return_index=True)
    best = order[np.sort(firsts)[:k]]
    clips = index.clips(rows[best]).to_pylist()
    return [
        Hit(
            clip_id=clip["clip_id"],
            uri=clip.get("uri"),
            start_s=clip.get("start_s"),
            end_s=clip.get("end_s"),
            score=float(score),
        )
        for clip, score in zip(clips, scores[best], strict=True)
    ]


def _embed(
    store: Store, table: str, given: Extractor | None, index: Index, kind: str, uri: str, at: Span | None
) -> tuple[Vectors, tuple[str, ...]]:
    """The embeddings of a query's clips, (Q, dim), and a note where some of them cannot be used."""
    spec = store.spec(table)
    if spec is None:
        raise UsageError(f"{store.url}/features/{table} does not say what made it; search it by clip")
    _check_same(store, table, index)
    extractor = restore(spec, given)
    samplings = samplings_of(extractor)
    if not samplings or suitability(spec, kind) is None:
        about = " and ".join(sorted(modalities(spec)))
        raise UsageError(f"{extractor.name} is about {about}, it cannot be asked by {kind}; name another index with -x")
    _opened(uri).close()
    with contextlib.closing(Sandbox()) as sandbox:
        if kind == "image":
            ((name, sampling),) = samplings.items()
            clip = _clip(uri, 0, (0.0, sampling.unit_s))
            return _vectors(iter([_item(clip, {name: sandbox.image(uri, sampling)})]), extractor, uri)
        info = sandbox.probe(uri)
        spans = _spans(store, info, extractor, uri, at, sandbox)
        return _vectors((_read(sandbox, uri, i, span, info, samplings) for i, span in enumerate(spans)), extractor, uri)


def _read(
    sandbox: Sandbox, uri: str, index: int, span: Span, info: VideoInfo, samplings: Mapping[str, Sampling]
) -> ClipInput | MediaError | None:
    """What an extractor is given of one clip of a query; None where the clip has nothing of the kind."""
    around = {name: with_context(sampling, *span, info.duration_s) for name, sampling in samplings.items()}
    requests = {name: sampling.request(*around[name]) for name, sampling in samplings.items()}
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


def _check_same(store: Store, table: str, index: Index) -> None:
    if spec_sha256(index.features) != index.manifest.spec_sha256:
        raise UsageError(f"{store.url}: another extractor made the table {table} since; run vidray index again")


def _opened(uri: str) -> BinaryIO:
    try:
        return open_uri(uri)
    except FileNotFoundError as e:
        raise UsageError(f"{uri}: no such file") from e
    except IsADirectoryError as e:
        raise UsageError(f"{uri}: a folder; give one file") from e
    except OSError as e:
        raise DecodeError("unreadable", " ".join(str(e).split())[:200], uri) from e


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
    samples: Iterator[ClipInput | MediaError | None], extractor: Extractor, uri: str
) -> tuple[Vectors, tuple[str, ...]]:
    """One clip at a time: a long query takes no more memory than a short one."""
    extract = extractor.load("cpu")
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
    notes = (f"{uri}: {unused} of its {count} clips cannot be used",) if unused else ()
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


def _staleness(index: Index, store: str, table: str) -> tuple[str, ...]:
    if not index.stale:
        return ()
    newer = index.newer_clips()
    changed = f"{newer} clips are newer than the index" if newer else "the table has changed since the index was built"
    return (f"{changed}; run vidray index {store} -x {table}",)
