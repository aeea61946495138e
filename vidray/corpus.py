"""Listing videos: a file, a directory, a glob or a manifest on any fsspec URL. Opens no media."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa

from vidray.arguments import check_texts, check_whole_or_none
from vidray.errors import UsageError
from vidray.manifest import RESERVED, SUFFIXES, metadata_schema, read_manifest, suffix_of
from vidray.media import UNSEEN, Span, Video
from vidray.storage import STORE_FILE, filesystem, find, is_local, to_uri
from vidray.wording import counted

MEDIA_SUFFIXES = frozenset(
    {
        ".264", ".265", ".360", ".3g2", ".3ga", ".3gp", ".3gp2", ".3gpp", ".3gpp2", ".aac", ".ac3", ".adts", ".afc",
        ".aif", ".aifc", ".aiff", ".amr", ".apng", ".asf", ".au", ".av1", ".avc", ".avi", ".awb", ".bwf", ".caf",
        ".cmfa", ".cmfv", ".dif", ".divx", ".dv", ".eac3", ".ec3", ".evo", ".f4a", ".f4b", ".f4v", ".flac", ".flv",
        ".gif", ".h264", ".h265", ".h26l", ".hevc", ".insv", ".isma", ".ismv", ".ivf", ".lrv", ".m1a", ".m1v", ".m2a",
        ".m2p", ".m2ps", ".m2t", ".m2ts", ".m2v", ".m4a", ".m4b", ".m4r", ".m4v", ".mj2", ".mjpeg", ".mjpg", ".mk3d",
        ".mka", ".mkv", ".mod", ".mov", ".mp1", ".mp2", ".mp2v", ".mp3", ".mp4", ".mp4v", ".mpa", ".mpe", ".mpeg",
        ".mpg", ".mpga", ".mpv", ".mpv2", ".mts", ".mxf", ".obu", ".oga", ".ogg", ".ogm", ".ogv", ".ogx", ".opus",
        ".psp", ".qt", ".rf64", ".snd", ".spx", ".tod", ".tp", ".trp", ".ts", ".vob", ".vro", ".w64", ".wav", ".weba",
        ".webm", ".wma", ".wmv", ".xvid",
    }
)  # fmt: skip
"""Of the containers that decoding opens: FFmpeg's own, and what recorders and cameras call them. A file of another name
is read when it is named."""

_SUFFIXES_SAID = 5
T = TypeVar("T")

LOOKUPS_AT_ONCE = 32
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a corpus holds.

    Attributes:
        corpus: What was listed, as it is written down: an absolute path or a URL.
        is_whole: Whether nothing was left out for a limit.
        videos: Sorted by URI, each URI once.
        warnings: One line each, for a person.
        skipped_files: Files of a directory that are not media by their name.
        metadata: The columns that a manifest has besides, with their types.
    """

    corpus: str
    is_whole: bool
    videos: tuple[Video, ...]
    warnings: tuple[str, ...] = ()
    skipped_files: int = 0
    metadata: pa.Schema = field(default_factory=lambda: pa.schema([]))


@dataclass
class _Entry:
    """A URI while a manifest is read: its rows come one by one."""

    size_bytes: int | None = None
    fingerprint: str | None = None
    rows: dict[Span | None, Mapping[str, object]] = field(default_factory=dict)


def list_corpus(
    corpus: str,
    *,
    limit: int | None = None,
    known: frozenset[str] = frozenset(),
    text_columns: Collection[str] = (),
    held_texts: Collection[str] = (),
) -> Listing:
    """List the videos of a corpus, sorted by URI; at most `limit` of them.

    URIs in `known` are listed without asking the storage about them. A manifest's `text_columns` are text, whatever
    they look like; so are those in `held_texts`, which it need not have: the store has them as text.

    Raises:
        UsageError: There is no such corpus, its manifest is malformed, or it holds no media.
    """
    check_whole_or_none(limit=limit)
    check_texts(text_columns=text_columns)
    fs, path = filesystem(corpus)
    if any(mark in path for mark in "*?[") and not fs.exists(path):
        found = fs.glob(path, detail=True)
        files = {name: info for name, info in found.items() if info["type"] in ("file", "link", "other")}
        return _of_files(fs, files, corpus, limit)
    try:
        info = fs.info(path)
    except (FileNotFoundError, NotADirectoryError, ValueError) as e:
        raise UsageError(f"{corpus}: no such file or folder") from e
    if info["type"] == "directory":
        files, stores = _without_stores(find(fs, path))
        media = {name: found for name, found in files.items() if _is_media(name, path)}
        skipped = _shown_names(files.keys() - media.keys(), path)
        listing = _of_files(fs, media, corpus, limit, skipped=skipped)
        left_out = tuple(f"{store}: a vidray store in the corpus, which is left out" for store in stores)
        return replace(listing, warnings=(*listing.warnings, *left_out))
    if suffix_of(path) in SUFFIXES:
        table = read_manifest(fs, path, corpus, text_columns=text_columns, held_texts=held_texts)
        return _of_manifest(table, fs, path, corpus, limit, known)
    if text_columns:
        raise UsageError(f"{corpus}: no manifest, so that it has no column '{min(text_columns)}' to be text")
    return _of_files(fs, {path: info}, corpus, limit)


def video_id(uri: str, fingerprint: str) -> str:
    """32 hexadecimal digits; another URI or content is another video."""
    return hashlib.blake2b(f"{uri}\0{fingerprint}".encode(), digest_size=16).hexdigest()


def _is_media(name: str, top: str) -> bool:
    inside = PurePosixPath(name.removeprefix(top.rstrip("/") + "/"))
    hidden = any(step.startswith(".") for step in inside.parts)
    return not hidden and inside.suffix.lower() in MEDIA_SUFFIXES


def _without_stores(files: Mapping[str, T]) -> tuple[dict[str, T], list[str]]:
    """The files that are of no vidray store, and the folders of the stores among them."""
    stores = sorted(name.removesuffix(f"/{STORE_FILE}") for name in files if name.endswith(f"/{STORE_FILE}"))
    inside = tuple(f"{store}/" for store in stores)
    return {name: info for name, info in files.items() if not (inside and name.startswith(inside))}, stores


def _shown_names(names: Iterable[str], top: str) -> list[str]:
    """Those that are not hidden: what one expects to be left out is not said."""
    inside = {name: PurePosixPath(name.removeprefix(top.rstrip("/") + "/")) for name in names}
    return [name for name, path in inside.items() if not any(step.startswith(".") for step in path.parts)]


def _of_files(
    fs: Any, files: Mapping[str, Mapping[str, Any]], corpus: str, limit: int | None, *, skipped: Sequence[str] = ()
) -> Listing:
    left_out = _left_out(skipped) if skipped else ""
    if not files:
        raise UsageError(f"{corpus}: no video or audio files" + (f"; {left_out}" if left_out else ""))
    videos = [_video(to_uri(fs, name), info.get("size"), _fingerprint(info)) for name, info in files.items()]
    videos.sort(key=lambda video: video.uri)
    whole = limit is None or limit >= len(videos)
    return Listing(
        corpus=_canonical(corpus),
        is_whole=whole,
        videos=tuple(videos[:limit]),
        warnings=(f"{corpus}: left out {left_out}; name one to have it read",) if left_out else (),
        skipped_files=len(skipped),
    )


def _left_out(names: Sequence[str]) -> str:
    """How many files, and of which kinds: "12 files that are not media by their names (8 .jpg, 4 .txt)"."""
    suffixes = sorted(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names)
    kinds = Counter(suffixes).most_common()
    others = sum(count for _, count in kinds[_SUFFIXES_SAID:])
    said = [f"{count} {kind}" for kind, count in kinds[:_SUFFIXES_SAID]] + ([f"{others} other"] if others else [])
    what = "file that is not media by its name" if len(names) == 1 else "files that are not media by their names"
    return f"{len(names)} {what} ({', '.join(said)})"


def _video(uri: str, size_bytes: int | None, fingerprint: str) -> Video:
    return Video(video_id=video_id(uri, fingerprint), uri=uri, size_bytes=size_bytes, fingerprint=fingerprint)


def _fingerprint(info: Mapping[str, Any]) -> str:
    if info.get("unasked"):
        return UNSEEN  # asked again when it is probed, whose error says why
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return _etag(etag)
    if info.get("islink"):
        # the file's own time, not the link's
        with contextlib.suppress(OSError):
            info = {**info, "mtime": os.stat(info["name"]).st_mtime}
    changed = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or ""
    return f"size:{info.get('size')}:mtime:{changed}"


def _canonical(corpus: str) -> str:
    fs, path = filesystem(corpus)
    return to_uri(fs, path)


def _etag(etag: object) -> str:
    quotes = '"'
    return f"etag:{str(etag).strip(quotes)}"


def _of_manifest(table: pa.Table, fs: Any, path: str, corpus: str, limit: int | None, known: frozenset[str]) -> Listing:
    base = "" if is_local(corpus) else to_uri(fs, path).rsplit("/", 1)[0]
    folder = path.rsplit("/", 1)[0]
    entries: dict[str, _Entry] = {}
    repeated = 0
    batches = table.to_batches(max_chunksize=ROWS_AT_ONCE)
    for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
        where = f"{corpus} row {number}"
        uri = _absolute(row["uri"], base or folder, where)
        span = _span(row, where)
        entry = entries.setdefault(uri, _Entry())
        if span in entry.rows or (entry.rows and (span is None or None in entry.rows)):
            repeated += 1
            continue
        entry.rows[span] = {name: value for name, value in row.items() if name not in RESERVED}
        if not isinstance(row.get("size_bytes"), int | None):
            raise UsageError(f"{where}: size_bytes must be a whole number, got {row['size_bytes']!r}")
        entry.size_bytes = row.get("size_bytes") if entry.size_bytes is None else entry.size_bytes
        if row.get("etag"):
            entry.fingerprint = _etag(row["etag"])
    if not entries:
        raise UsageError(f"{corpus}: the manifest has no rows")
    wanted = sorted(entries)[:limit]
    whole = limit is None or limit >= len(entries)
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        asked = [uri for uri in wanted if entries[uri].fingerprint is None and uri not in known]
        for first in range(0, len(asked), ROWS_AT_ONCE):
            some = asked[first : first + ROWS_AT_ONCE]
            for uri, (size_bytes, fingerprint) in zip(some, pool.map(look_up, some), strict=True):
                entries[uri].fingerprint = fingerprint
                entries[uri].size_bytes = size_bytes if fingerprint != UNSEEN else entries[uri].size_bytes
    videos = [_listed(uri, entries.pop(uri)) for uri in wanted]
    warnings = (
        (f"{corpus}: {counted(repeated, 'row')} with a video or span that is named already; each counts once",)
        if repeated
        else ()
    )
    return Listing(
        corpus=_canonical(corpus),
        is_whole=whole,
        videos=tuple(videos),
        warnings=warnings,
        metadata=metadata_schema(table),
    )


def _absolute(uri: object, base: str, where: str) -> str:
    if not isinstance(uri, str) or not uri:
        raise UsageError(f"{where}: uri must be a path or URL, got {uri!r}")
    if "://" in uri or uri.startswith("/"):
        return uri
    return f"{base}/{uri}"


def _span(row: Mapping[str, Any], where: str) -> Span | None:
    start_s, end_s = row.get("start_s"), row.get("end_s")
    if start_s is None and end_s is None:
        return None
    try:
        span = float(start_s), float(end_s)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        span = (0.0, 0.0)
    if not 0 <= span[0] < span[1] < float("inf"):
        raise UsageError(f"{where}: a span needs 0 <= start_s < end_s in seconds, got {start_s} and {end_s}")
    return span


def look_up(uri: str) -> tuple[int | None, str]:
    """A file's size and fingerprint, by its storage."""
    try:
        fs, path = filesystem(uri)
        info = fs.info(path)
        return info.get("size"), _fingerprint(info)
    except (OSError, ValueError):
        # asked again when it is probed, whose error says why
        return None, UNSEEN


def _listed(uri: str, entry: _Entry) -> Video:
    fingerprint = entry.fingerprint or UNSEEN
    spans = sorted(span for span in entry.rows if span is not None)
    return Video(
        video_id=video_id(uri, fingerprint),
        uri=uri,
        size_bytes=entry.size_bytes,
        fingerprint=fingerprint,
        spans=tuple(spans),
        metadata=tuple(entry.rows[span] for span in spans) or tuple(entry.rows.values()),
    )
