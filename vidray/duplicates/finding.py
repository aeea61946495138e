"""Find the near-duplicates of a store, and write them down in `duplicates/<name>`."""

from __future__ import annotations

import csv
import importlib.metadata
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from threadpoolctl import threadpool_limits

from vidray.arguments import check_extractor, check_number, check_text
from vidray.duplicates.alignment import LEAST, Alignment, Pictures, align
from vidray.duplicates.candidates import Candidates, by_embeddings, by_hashes
from vidray.duplicates.groups import Group, Match, Quality, grouped
from vidray.duplicates.pictures import PictureFile, Video, read_videos
from vidray.duplicates.table import UNSURE_S, Copies, copies_of, redundant_clips, write_groups
from vidray.errors import UsageError
from vidray.exports.protocol import writing
from vidray.extractors.spec import column_names, modalities
from vidray.storage import place_of
from vidray.store import Store
from vidray.store.layout import features_of
from vidray.store.lease import OF_LABELS, Lease
from vidray.store.tables import checked_name, features_table
from vidray.wording import counted

NAME = "copies"
THRESHOLD = 0.6
"""Of five seconds or more; see docs/duplicates.md for what copies score, and other shots of one scene."""

MOST_TRIES = 8
"""Pairs of clips of two videos that are compared in vain before the others are left."""


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What `find_duplicates` found.

    Attributes:
        name: Of the table, `duplicates/<name>/`.
        features: The table of embeddings by which candidates were found, None where hashes alone did.
        videos: That were compared: those with hashes.
        compared: Pairs of videos that had something in common.
        groups: Of copies, with what is kept of each.
    """

    name: str
    features: str | None
    videos: int
    compared: int
    groups: tuple[Copies, ...]


def find_duplicates(
    store: str | PathLike[str],
    *,
    extractor: str | None = None,
    name: str = NAME,
    threshold: float = THRESHOLD,
    keep: str | PathLike[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Duplicates:
    """Find which clips and videos are copies of others, wholly or in part, and write `duplicates/<name>/` anew.

    A store needs a `phash` table. Embeddings find copies whose hashes differ, as of crops; there may be none.

    Args:
        store: fsspec URL of a store.
        extractor: Whose embeddings, where several tables have some.
        name: Of the table.
        threshold: The least score of a copy, in (0, 1]: how its changes over time correlate with the original's.
        keep: Where to write a manifest of the clips that are no copies, as CSV: uri, start_s, end_s.
        say: Told what is being done.

    Raises:
        UsageError: There is no store or no such table, the name cannot be one, or the threshold is no such number.
        StoreError: The store cannot be read, or its labels and duplicates are being written by another run.
    """
    check_extractor(extractor=extractor)
    check_text(name=name)
    check_number(threshold=threshold)
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold must be in (0, 1], got {threshold}")
    name, held = checked_name(name), Store(store)
    manifest = None if keep is None else place_of(keep, "keep")
    hashes = features_table(held, "phash")
    table = _embeddings(held, extractor, say)
    parts = {str(part): held.content_hash(hashes, part) for part in held.parts(features_of(hashes))}
    videos = read_videos(held, hashes)
    candidates = by_hashes(videos)
    if table is not None:
        by_embeddings(held, table, videos, candidates)
    say(f"comparing {counted(len(candidates), 'pair')} of {counted(len(videos), 'video')}")
    matches = _verified(held, hashes, videos, candidates, threshold)
    groups = grouped(matches, _qualities(held, videos))
    spec = {
        "features": hashes, "embeddings": table, "threshold": threshold, "parts": parts,
        "vidray": importlib.metadata.version("vidray"),
    }  # fmt: skip
    with Lease(held.folder, say=say, of=OF_LABELS) as lease:
        held.write_duplicates_spec(name, {**spec, "parts": {}})
        write_groups(held, name, groups, videos)
        lease.check()
        held.write_duplicates_spec(name, spec)
    if manifest is not None:
        clips, kept = _write_manifest(held, manifest, groups)
        of = counted(clips, "clip")
        say(f"{manifest}: {kept:,} of {of}; the others repeat these, but for {UNSURE_S:g} s at most")
    copies = tuple(copies_of(groups, videos))
    return Duplicates(name=name, features=table, videos=len(videos), compared=len(candidates), groups=copies)


def _embeddings(store: Store, extractor: str | None, say: Callable[[str], None]) -> str | None:
    """The table of embeddings that was named, or the only one of frames; None where there is none."""
    if extractor is not None:
        return features_table(store, extractor)
    specs = {table: store.spec(table) or {} for table in store.tables("features")}
    found = [name for name, spec in specs.items() if "embedding" in column_names(spec) and "frames" in modalities(spec)]
    if len(found) > 1:
        raise UsageError(f"{store.url}: {', '.join(found)} have embeddings; say which, with -x NAME")
    if not found:
        say("by hashes alone: embeddings, as of -x efficientnet_lite0, find copies whose hashes differ")
    return found[0] if found else None


def _verified(
    store: Store, table: str, videos: Sequence[Video], candidates: Candidates, threshold: float
) -> list[Match]:
    """What aligns over time, of the candidates."""
    places = sorted({place for pair in candidates for place in pair})
    matches: list[Match] = []
    # matrices are so small that OpenBLAS's threads, of which one waits for another busily, take three times as long
    one_thread = threadpool_limits(limits=1, user_api="blas")
    with PictureFile(store, table, [videos[place] for place in places]) as pictures, one_thread:
        for (one, other), pairs in sorted(candidates.items()):
            first, second = videos[one], videos[other]
            if abs(first.step_s - second.step_s) > 1e-6:
                continue
            ranked = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
            held = pictures.of(first), pictures.of(second)
            found = _alignments(held, (first, second), ranked, threshold)
            matches += [_match(first, second, alignment) for alignment in found]
    return matches


def _match(first: Video, second: Video, found: Alignment) -> Match:
    """What two videos share, in their own times: as long in both, where one ends within its last picture."""
    one, other = first.span_s(*found.first), second.span_s(*found.second)
    length_s = min(one[1] - one[0], other[1] - other[0])
    return Match(
        first=first.video_id, first_s=(one[0], one[0] + length_s), second=second.video_id,
        second_s=(other[0], other[0] + length_s), score=min(1.0, found.score),
    )  # fmt: skip


def _alignments(
    pictures: tuple[Pictures, Pictures], videos: tuple[Video, Video], pairs: Sequence[tuple[int, int]], threshold: float
) -> list[Alignment]:
    """The stretches that two videos share, tried where some of their clips are alike."""
    found: list[Alignment] = []
    in_vain = 0
    for pair in pairs:
        one, other = (video.window(clip) for video, clip in zip(videos, pair, strict=True))
        if any(_overlap(one, known.first) and _overlap(other, known.second) for known in found):
            continue
        aligned = align(*pictures, one, other)
        if aligned is not None and aligned.reaches(threshold):
            found.append(aligned)
            continue
        in_vain += 1
        if in_vain >= MOST_TRIES:
            break
    return found


def _overlap(window: slice, run: tuple[int, int]) -> bool:
    return bool(min(window.stop, run[1]) - max(window.start, run[0]) >= LEAST)


def _qualities(store: Store, videos: Sequence[Video]) -> dict[str, Quality]:
    content = {video.video_id: video for video in videos}
    found = {}
    columns = ["video_id", "uri", "duration_s", "width", "height", "size_bytes"]
    for part in sorted({video.part for video in videos}):
        for row in store.read("videos", part, columns).to_pylist():
            video = content.get(row["video_id"])
            if video is not None:
                length_s = row["duration_s"] or float(np.max(video.spans_s))
                pixels = (row["width"] or 0) * (row["height"] or 0) * video.content
                bits = 8 * (row["size_bytes"] or 0) / max(length_s, 1e-9)
                found[video.video_id] = Quality(
                    length_s=length_s, pixels=pixels, content=video.content, bits_per_s=bits, uri=row["uri"]
                )
    return found


def _write_manifest(store: Store, place: str, groups: Sequence[Group]) -> tuple[int, int]:
    """All clips of the plan but those that are copies: a corpus for `vidray extract`. How many there are, and stay."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["uri", "start_s", "end_s"])
    clips = kept = 0
    for part in store.parts("clips"):
        rows = store.read("clips", part, ["clip_id", "video_id", "uri", "start_s", "end_s"]).to_pylist()
        gone = redundant_clips(rows, groups)
        stay = [row for row in rows if row["clip_id"] not in gone]
        writer.writerows((row["uri"], row["start_s"], row["end_s"]) for row in stay)
        clips, kept = clips + len(rows), kept + len(stay)
    with writing(place) as file:
        file.write(text.getvalue().encode())
    return clips, kept
