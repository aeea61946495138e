"""From matches between videos to groups: one stretch is kept of each, and the others are told by it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Span = tuple[float, float]

COVERED = 0.5
"""A stretch of which so much is told already is not told again."""

LENGTH_STEP_S = 0.5
"""Stretches that differ in length by less are as long: their borders are known to a quarter of a second."""

LARGER = 1.15
"""How many times the pixels count as more: borders are not known to the pixel."""

BORDERS_STEP = 0.04
"""Share of the area; borders of less are none."""

LEAST_SHARED_S = 0.5
"""Stretches of one video that share so much are one."""

LEAST_UNTOLD_S = 1.0
"""Copies of less are not found, so that they are not missed."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What decides which of several copies is kept, of those that are as long.

    Attributes:
        length_s: Of the video.
        pixels: Of its frames, without borders.
        content: Share of its frames' area that is within borders.
        bits_per_s: Of its file.
        uri: So that nothing is left to chance.
    """

    length_s: float
    pixels: float
    content: float
    bits_per_s: float
    uri: str


@dataclass(frozen=True, kw_only=True)
class Match:
    """A stretch of one video that is one of another's.

    Attributes:
        first: The one video's id.
        first_s: Its span.
        second: The other's id.
        second_s: Its span, as long.
        score: In [0, 1].
    """

    first: str
    first_s: Span
    second: str
    second_s: Span
    score: float


@dataclass(frozen=True, kw_only=True)
class Member:
    """A stretch that repeats one of the kept video.

    Attributes:
        video_id: Whose.
        span_s: Which.
        of_s: The kept video's span that it repeats.
        score: In [0, 1].
    """

    video_id: str
    span_s: Span
    of_s: Span
    score: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """A stretch of a video that is kept, and those that repeat it, or some of it.

    Attributes:
        keep: The kept video's id.
        span_s: Its stretch.
        members: By video and start.
        why: In what it is the best.
    """

    keep: str
    span_s: Span
    members: tuple[Member, ...]
    why: str


@dataclass(frozen=True)
class _Region:
    """A stretch of a video that has copies: matches of it overlap."""

    video_id: str
    span_s: Span


Key = tuple[int, float, tuple[int, float], float, str, Span]
_Edges = dict[_Region, list[tuple[_Region, Match]]]
_Told = dict[_Region, list[Member]]


def grouped(matches: Sequence[Match], qualities: Mapping[str, Quality]) -> list[Group]:
    """Groups of stretches with one content, copies of copies among them, each told by the one that is kept.

    That is the longest stretch; of those as long, that of the video with the most pixels, then without borders and of
    the most bits a second, then of the longest. A stretch of which the kept one has only some is in a further group
    with what repeats the rest.
    """
    found: dict[_Region, _Told] = {}
    left = list(matches)
    while left:
        told = dict(_once_each(left, qualities))
        for kept, members in told.items():
            for region, some in members.items():
                found.setdefault(kept, {}).setdefault(region, []).extend(some)
        left = _untold(left, told)
    return [_group(kept, members, qualities) for kept, members in found.items()]


def _group(kept: _Region, members: _Told, qualities: Mapping[str, Quality]) -> Group:
    keys = [_key(region, qualities[region.video_id]) for region in (kept, *members)]
    told = (member for some in members.values() for member in some)
    return Group(
        keep=kept.video_id,
        span_s=kept.span_s,
        members=tuple(sorted(told, key=lambda one: (qualities[one.video_id].uri, one.span_s))),
        why=_why(keys[0], keys[1:]),
    )


def _once_each(matches: Sequence[Match], qualities: Mapping[str, Quality]) -> Iterator[tuple[_Region, _Told]]:
    """What is kept, and what repeats it: each stretch that has copies once at most."""
    regions = _regions(matches)
    edges: _Edges = {region: [] for some in regions.values() for region in some}
    for match in matches:
        one = _region_of(regions[match.first], match.first_s)
        other = _region_of(regions[match.second], match.second_s)
        edges[one].append((other, match))
        edges[other].append((one, _turned(match)))
    keys = {region: _key(region, qualities[region.video_id]) for region in edges}
    left = dict.fromkeys(sorted(edges, key=keys.__getitem__))
    while left:
        kept = next(iter(left))
        members = dict(_members(kept, edges, left, keys))
        if (best := _best([kept, *members], keys)) != kept:
            kept, members = best, dict(_members(best, edges, left, keys))
        for region in (kept, *members):
            del left[region]
        if members:
            yield kept, members


def _untold(matches: Sequence[Match], told: Mapping[_Region, _Told]) -> list[Match]:
    """The matches of which no group tells both stretches, but for what is too short to be found.

    There are fewer of them each time: the first group tells the longest match of what it keeps.
    """
    spans: dict[str, dict[_Region, list[Span]]] = {}
    for kept, members in told.items():
        spans.setdefault(kept.video_id, {}).setdefault(kept, []).append(kept.span_s)
        for region, some in members.items():
            spans.setdefault(region.video_id, {}).setdefault(kept, []).extend(one.span_s for one in some)

    def is_told(match: Match) -> bool:
        one, other = spans.get(match.first, {}), spans.get(match.second, {})
        return any(
            _uncovered_s(match.first_s, one[kept]) < LEAST_UNTOLD_S
            and _uncovered_s(match.second_s, other[kept]) < LEAST_UNTOLD_S
            for kept in one.keys() & other.keys()
        )

    return [match for match in matches if not is_told(match)]


def united_s(spans_s: Sequence[Span]) -> float:
    """How many seconds some spans cover together."""
    total_s, covered_s = 0.0, -math.inf
    for start_s, end_s in sorted(spans_s):
        total_s += max(0.0, end_s - max(start_s, covered_s))
        covered_s = max(covered_s, end_s)
    return total_s


def _uncovered_s(span_s: Span, spans_s: Sequence[Span]) -> float:
    return _length(span_s) - united_s([_shared(span_s, one) for one in spans_s])


def _regions(matches: Sequence[Match]) -> dict[str, list[_Region]]:
    """The stretches of each video that have copies, those that overlap as one."""
    spans: dict[str, list[Span]] = {}
    for match in matches:
        spans.setdefault(match.first, []).append(match.first_s)
        spans.setdefault(match.second, []).append(match.second_s)
    found: dict[str, list[_Region]] = {}
    for video, some in spans.items():
        merged: list[Span] = []
        for span in sorted(some):
            if merged and merged[-1][1] - span[0] >= LEAST_SHARED_S:
                merged[-1] = merged[-1][0], max(merged[-1][1], span[1])
            else:
                merged.append(span)
        found[video] = [_Region(video, span) for span in merged]
    return found


def _region_of(regions: Sequence[_Region], span_s: Span) -> _Region:
    return max(regions, key=lambda region: _length(_shared(region.span_s, span_s)))


def _members(
    kept: _Region, edges: _Edges, left: Mapping[_Region, None], keys: Mapping[_Region, Key]
) -> Iterator[tuple[_Region, list[Member]]]:
    """The stretches that repeat a kept one: those that match it, those that match these, and so on."""
    told = {kept: [Member(video_id=kept.video_id, span_s=kept.span_s, of_s=kept.span_s, score=1.0)]}
    ring = [kept]
    while ring:
        fresh: dict[_Region, list[Member]] = {}
        for region in ring:
            for other, match in sorted(edges[region], key=lambda pair: (-_length(pair[1].second_s), keys[pair[0]])):
                if other in left and other not in told:
                    some = fresh.setdefault(other, [])
                    some += [one for one in _through(told[region], match) if _share(some, one.span_s) < COVERED]
        ring = [region for region, some in fresh.items() if some]
        told |= {region: fresh[region] for region in ring}
        yield from ((region, fresh[region]) for region in ring)


def _through(members: Sequence[Member], match: Match) -> Iterator[Member]:
    """What a match's second stretch repeats of the kept one, by what is told of its first."""
    for one in members:
        start_s, end_s = _shared(one.span_s, match.first_s)
        length_s = _length(match.first_s)
        if end_s - start_s >= max(min(LEAST_SHARED_S, length_s), COVERED * length_s):
            on, back = match.second_s[0] - match.first_s[0], one.of_s[0] - one.span_s[0]
            yield Member(
                video_id=match.second,
                span_s=(start_s + on, min(end_s + on, match.second_s[1])),
                of_s=(start_s + back, end_s + back),
                score=min(one.score, match.score),
            )


def _turned(match: Match) -> Match:
    return Match(
        first=match.second, first_s=match.second_s, second=match.first, second_s=match.first_s, score=match.score
    )


def _key(region: _Region, quality: Quality) -> Key:
    """The better, the lower."""
    length = round(_length(region.span_s) / LENGTH_STEP_S)
    borders = round((1 - quality.content) / BORDERS_STEP)
    return -length, -quality.pixels, (borders, -quality.bits_per_s), -quality.length_s, quality.uri, region.span_s


def _best(regions: Sequence[_Region], keys: Mapping[_Region, Key]) -> _Region:
    """Of the longest, those that are about as large as the largest; of these the best by the rest of their keys."""
    longest = [region for region in regions if keys[region][0] == min(keys[one][0] for one in regions)]
    most = min(keys[region][1] for region in longest) / LARGER
    return min((region for region in longest if keys[region][1] <= most), key=lambda region: keys[region][2:])


def _why(best: Key, others: Sequence[Key]) -> str:
    """In what a stretch is better than each of the others."""
    as_long = [other for other in others if other[0] == best[0]]
    if not as_long:
        return "longest"
    as_large = [other for other in as_long if other[1] < best[1] / LARGER]
    if not as_large:
        return "largest"
    return "best quality" if all(best[2] < other[2] for other in as_large) else "first of equals"


def _share(members: Sequence[Member], span_s: Span) -> float:
    """How much of a span is told already, in [0, 1]."""
    return sum(_length(_shared(one.span_s, span_s)) for one in members) / max(_length(span_s), 1e-9)


def _shared(one: Span, other: Span) -> Span:
    return max(one[0], other[0]), min(one[1], other[1])


def _length(span_s: Span) -> float:
    return max(0.0, span_s[1] - span_s[0])
