"""Groups of copies as rows of `duplicates/<name>`, a row for what each clip shares, and as stretches for a person."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vidray.duplicates.groups import Group, Member, Span, united_s
from vidray.duplicates.pictures import Video
from vidray.store import DUPLICATES, Store
from vidray.store.layout import duplicates_of

LEAST_PIECE_S = 0.05
"""What a clip shares is told if it is as long as this; borders are known to a quarter of a second."""

REDUNDANT = 0.8
"""A clip of which so much repeats others needs not be kept, if the rest is no longer than `UNSURE_S`."""

UNSURE_S = 0.5
"""Borders are known to a quarter of a second, and a stretch has two: so much of a copy may seem to be a clip's own."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of a video, and the clip that has the most of it.

    Attributes:
        clip_id: That clip.
        uri: The video.
        start_s: Where it starts.
        end_s: Where it ends.
    """

    clip_id: str
    uri: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A stretch that repeats one of the kept video.

    Attributes:
        clip_id, uri, start_s, end_s: As of a `Stretch`.
        score: How its changes over time correlate with the kept one's.
        of: The span of the kept video that it repeats.
    """

    clip_id: str
    uri: str
    start_s: float
    end_s: float
    score: float
    of: Span


@dataclass(frozen=True, kw_only=True)
class Copies:
    """A group.

    Attributes:
        keep: The stretch that is kept.
        why: In what its video is the best.
        members: The others.
    """

    keep: Stretch
    why: str
    members: tuple[Copy, ...]


def copies_of(groups: Sequence[Group], videos: Sequence[Video]) -> Iterator[Copies]:
    """The groups as they are told."""
    by_id = {video.video_id: video for video in videos}
    for group in groups:
        kept = by_id[group.keep]
        yield Copies(
            keep=Stretch(**_place(kept, group.span_s)),
            why=group.why,
            members=tuple(
                Copy(**_place(by_id[one.video_id], one.span_s), score=round(one.score, 4), of=_rounded(one.of_s))
                for one in group.members
            ),
        )


def _place(video: Video, span_s: Span) -> dict[str, Any]:
    start_s, end_s = _rounded(span_s)
    return {"clip_id": _clip_of(video, span_s), "uri": video.uri, "start_s": start_s, "end_s": end_s}


def _rounded(span_s: Span) -> Span:
    return round(span_s[0], 3), round(span_s[1], 3)


def _clip_of(video: Video, span_s: Span) -> str:
    """The clip that has the most of a span, the first of several."""
    shared = [_within(tuple(span), span_s) for span in video.spans_s.tolist()]
    lengths = [0.0 if piece is None else piece[1] - piece[0] for piece in shared]
    return video.clip_ids[lengths.index(max(lengths))]


def _within(clip_s: Sequence[float], span_s: Span) -> Span | None:
    piece = max(clip_s[0], span_s[0]), min(clip_s[1], span_s[1])
    return piece if piece[1] - piece[0] >= LEAST_PIECE_S else None


def write_groups(store: Store, name: str, groups: Sequence[Group], videos: Sequence[Video]) -> None:
    """Publish the table anew, a part for each of the plan. The lease is the caller's to hold."""
    table, by_id = duplicates_of(name), {video.video_id: video for video in videos}
    by_part: dict[int, list[dict[str, Any]]] = {part: [] for part in store.parts("clips")}
    for group in groups:
        kept = by_id[group.keep]
        itself = Member(video_id=group.keep, span_s=group.span_s, of_s=group.span_s, score=1.0)
        for member in (itself, *group.members):
            video = by_id[member.video_id]
            by_part.setdefault(video.part, []).extend(_rows(group, member, video, kept))
    for part, rows in by_part.items():
        store.write(table, part, pa.Table.from_pylist(rows, schema=DUPLICATES), DUPLICATES)
    for stale in set(store.parts(table)) - set(by_part):
        store.remove(table, stale)


def _rows(group: Group, member: Member, video: Video, kept: Video) -> Iterator[dict[str, Any]]:
    group_id = hashlib.sha256(f"{group.keep} {group.span_s}".encode()).hexdigest()[:16]
    on = member.of_s[0] - member.span_s[0]
    # the kept video may repeat itself elsewhere
    is_kept = video is kept and member.span_s == group.span_s
    for clip_id, clip_s in zip(video.clip_ids, video.spans_s.tolist(), strict=True):
        piece = _within(clip_s, member.span_s)
        if piece is not None:
            of_s = piece[0] + on, piece[1] + on
            yield {
                "group_id": group_id, "clip_id": clip_id, "video_id": video.video_id, "uri": video.uri,
                "start_s": piece[0], "end_s": piece[1], "of_clip_id": _clip_of(kept, of_s),
                "of_video_id": kept.video_id, "of_uri": kept.uri, "of_start_s": of_s[0], "of_end_s": of_s[1],
                "score": member.score, "keep": is_kept, "why": group.why if is_kept else None,
            }  # fmt: skip


def redundant_clips(clips: Sequence[Mapping[str, Any]], groups: Sequence[Group]) -> Collection[str]:
    """The clips, rows of the plan, that repeat what is kept, but for their borders, and have nothing which is kept.

    Where that is in doubt, a clip stays. What one group keeps is not gone because another tells it: of all copies of a
    moment one stays.
    """
    told: dict[str, list[Span]] = {}
    kept: dict[str, list[Span]] = {}
    for group in groups:
        kept.setdefault(group.keep, []).append(group.span_s)
        for member in group.members:
            told.setdefault(member.video_id, []).append(member.span_s)
    gone = set()
    for row in clips:
        video, clip_s = row["video_id"], (row["start_s"], row["end_s"])
        length_s, repeated_s = clip_s[1] - clip_s[0], united_s(_pieces(clip_s, told.get(video, ())))
        has_kept = bool(_pieces(clip_s, kept.get(video, ())))
        if not has_kept and repeated_s >= max(REDUNDANT * length_s, length_s - UNSURE_S):
            gone.add(row["clip_id"])
    return gone


def _pieces(clip_s: Span, spans_s: Sequence[Span]) -> list[Span]:
    return [piece for span_s in spans_s if (piece := _within(clip_s, span_s)) is not None]
