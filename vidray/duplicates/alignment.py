"""Whether one stretch of video is a copy of another, and which: small pictures compared in space, then over time.

A copy may be cut at its sides, have borders, or a caption at its top or bottom. So the pictures of one are cut in all
ways that a crop may, and those of the other as they are compared with all of them, without the rows of a caption where
that is better. At each shift in time, runs of pictures that look alike are then candidates. Two shots of one studio
look alike at any shift; what tells a copy is how it changes: the deviations of its pictures from their mean correlate
with the original's, and with nothing else's. The run is then followed through both videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
Luma = npt.NDArray[np.uint8]

SIDE = 32
COARSE = 16
"""Pixels of a side of the pictures, and of those with which the cut is looked for."""

CUT_STEP, CUT_MOST = 0.05, 0.15
"""What a crop may take from a side's length, altogether, and in which steps it is looked for."""

CAPTION_ROWS = 0.1875
"""What a caption may hide of the height: 15%, and the row that it shares."""

ALIKE = 0.7
"""Correlation of two coarse pictures, over which they count for a cut."""

SAME = 0.75
"""Of two pictures of one run; two that are less alike may lie between such."""

SAME_FOLLOWED = 0.6
"""Of those of a run that is known: it is followed through shots of which a caption hides more."""

GAP = 2

LEAST = 4
"""Pictures of a run, a second: fewer tell nothing of how it changes."""

STILL = 0.02
"""Deviation of normed pictures over time, below which it is noise: nothing moves."""

STILL_SAME = 0.98
"""Stills are copies where they are as alike as this, since nothing else can tell."""

LEAST_CONTRAST = 3.0
"""Of luma in [0, 255]: flatter pictures are all alike."""

ENOUGH = 0.8
"""A correlation over time beyond which no other border or caption is tried."""

LONG, SHORT = 20, 9
"""Pictures of a run, five seconds, that need no more than the threshold; and of one so short that chance is likely."""

SHORT_EXCESS = 0.33
"""What a short run needs above the threshold. Two seconds of one singer who moves to a beat come to 0.92 at other
moments, copies that are sampled in between to 0.94 and more, those of a shaky camera to 0.83."""

BETWEEN = (-0.5, -0.375, -0.25, -0.125, 0.125, 0.25, 0.375, 0.5)
"""Of the step from one picture to the next: so much later may one video be sampled than the other."""

HALF = 0.5
"""Where a run ends in a scene that goes on: of the two pictures' deviations, so much is to be shared."""

Rows = tuple[float, float]
WHOLE: Rows = (0.0, 1.0)
BANDS = (WHOLE, (0.0, 1 - CAPTION_ROWS), (CAPTION_ROWS, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """A video's pictures, evenly in time.

    Attributes:
        whole: uint8 (T, 32, 32), of whole frames.
        content: Likewise, of what is within borders; the same object where there are none.
    """

    whole: Luma
    content: Luma

    def __len__(self) -> int:
        return len(self.whole)


@dataclass(frozen=True)
class Alignment:
    """A run of pictures of one video that is a run of another's.

    Attributes:
        first: [first, last) among the pictures of the one.
        second: Likewise of the other, as many.
        score: How much alike they change over time: correlation in [-1, 1].
        likeness: Mean correlation of the pictures themselves.
    """

    first: tuple[int, int]
    second: tuple[int, int]
    score: float
    likeness: float

    @property
    def shift(self) -> int:
        """Of the second's pictures against the first's."""
        return self.second[0] - self.first[0]

    def reaches(self, threshold: float) -> bool:
        """Whether it is a copy: the shorter it is, the more above the threshold its score must be."""
        short = (LONG - (self.first[1] - self.first[0])) / (LONG - SHORT)
        return self.score >= min(1.0, threshold + SHORT_EXCESS * min(1.0, max(0.0, short)))

    @property
    def weight(self) -> float:
        """By which one alignment is better than another: a chance is the less likely the longer it lasts."""
        return float(self.score * np.sqrt(self.first[1] - self.first[0]))


@dataclass(frozen=True)
class _View:
    """How pictures are looked at: one's cut, the other's as they are, some of their rows."""

    first: Luma
    second: Luma
    band: Rows
    is_first_cut: bool = True
    high: Rows = WHOLE
    wide: Rows = WHOLE

    def normed(self, first: slice, second: slice) -> tuple[F32, F32]:
        """Some pictures of both, as vectors of length 1."""
        kept = slice(round(self.band[0] * SIDE), round(self.band[1] * SIDE))
        cut, plain = (self.high, self.wide), (WHOLE, WHOLE)
        x = _sampled(self.first[first], SIDE, *(cut if self.is_first_cut else plain))
        y = _sampled(self.second[second], SIDE, *(plain if self.is_first_cut else cut))
        return _normed(x[:, kept]), _normed(y[:, kept])


def align(first: Pictures, second: Pictures, of_first: slice, of_second: slice) -> Alignment | None:
    """The best run that two stretches share, followed beyond them; None where none is alike for long enough.

    Args:
        first: All pictures of a video.
        second: Of another, at the same rate.
        of_first: Where to look in the one.
        of_second: Where to look in the other.
    """
    best: Alignment | None = None
    sides = [_Coarse.of(first.content, second.content, of_first, of_second)]
    if first.content is not first.whole or second.content is not second.whole:
        sides.append(_Coarse.of(first.whole, second.whole, of_first, of_second))
    for band in BANDS:
        for coarse in sides:
            view = _best_cut(coarse, band)
            seed = None if view is None else _seed(view, of_first, of_second)
            found = None if seed is None or view is None else _followed(view, seed)
            if found is not None and (best is None or found.weight > best.weight):
                best = found
        if best is not None and best.score >= ENOUGH:
            break
    return best


@dataclass(frozen=True)
class _Coarse:
    """Two stretches as the cut is looked for: all ways to cut each, and each as it is."""

    first: Luma
    second: Luma
    cuts: tuple[F32, F32]
    plain: tuple[F32, F32]

    @staticmethod
    def of(first: Luma, second: Luma, of_first: slice, of_second: slice) -> _Coarse:
        stretches = first[of_first], second[of_second]
        cuts = _all_cuts(stretches[0]), _all_cuts(stretches[1])
        # nothing taken comes first
        return _Coarse(first, second, cuts, (cuts[0][0, 0], cuts[1][0, 0]))


def _best_cut(coarse: _Coarse, band: Rows) -> _View | None:
    """How one's pictures are cut to be most like the other's at some shift."""
    best, found = 0.0, None
    kept = slice(round(band[0] * COARSE), round(band[1] * COARSE))
    spans = _spans()
    for is_first in (True, False):
        cuts, plain = coarse.cuts[not is_first], coarse.plain[is_first]
        ways = _normed(cuts[..., kept, :]).reshape(-1, (kept.stop - kept.start) * COARSE)
        alike = np.maximum(ways @ _normed(plain[:, kept]).T - ALIKE, 0)
        if not alike.any():
            continue
        votes = _shifted_sums(alike.reshape(len(spans) ** 2, cuts.shape[2], len(plain))).max(axis=1)
        way = int(votes.argmax())
        if votes[way] > best:
            high, wide = spans[way // len(spans)], spans[way % len(spans)]
            best, found = float(votes[way]), _View(coarse.first, coarse.second, band, is_first, high, wide)
    return found


def _shifted_sums(alike: F32) -> F32:
    """The sums along all diagonals: (N, T, U) -> (N, T + U - 1), by rows that are each shifted one further."""
    count, rows, columns = alike.shape
    wide = np.zeros((count, rows, columns + rows), np.float32)
    wide[:, :, :columns] = alike[:, ::-1]
    flat = wide.reshape(count, -1)[:, : rows * (columns + rows - 1)]
    return np.asarray(flat.reshape(count, rows, -1).sum(axis=1))


def _seed(view: _View, of_first: slice, of_second: slice) -> Alignment | None:
    """The best run of alike pictures inside two stretches."""
    x, y = view.normed(of_first, of_second)
    likeness = x @ y.T
    best: Alignment | None = None
    for start, stop, shift in _runs(likeness):
        first, second = of_first.start + start, of_second.start + start + shift
        found = _judged(x[start:stop], y[start + shift : stop + shift], first, second)
        if best is None or found.weight > best.weight:
            best = found
    return best


def _runs(likeness: F32) -> Iterator[tuple[int, int, int]]:
    """Runs of alike pictures at each shift: start and stop among the first's, and the shift to the second's."""
    for shift in range(LEAST - likeness.shape[0], likeness.shape[1] - LEAST + 1):
        offset = max(0, -shift)
        for start, stop in _stretches(np.diagonal(likeness, shift) > SAME):
            if stop - start >= LEAST:
                yield offset + start, offset + stop, shift


def _stretches(is_alike: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Where a condition holds, but for short gaps."""
    places = np.flatnonzero(is_alike)
    if len(places):
        for run in np.split(places, np.flatnonzero(np.diff(places) > GAP + 1) + 1):
            yield int(run[0]), int(run[-1]) + 1


def _followed(view: _View, seed: Alignment) -> Alignment:
    """The run that a seed is of, as far as it goes in both videos."""
    before = min(seed.first[0], seed.second[0])
    behind = min(len(view.first) - seed.first[1], len(view.second) - seed.second[1])
    at, to = seed.first[0] - before, seed.second[0] - before
    length = before + seed.first[1] - seed.first[0] + behind
    x, y = view.normed(slice(at, at + length), slice(to, to + length))
    alike = np.einsum("ij,ij->i", x, y) > SAME_FOLLOWED
    start, stop = next((run for run in _stretches(alike) if run[0] <= before < run[1]), (before, length - behind))
    whole = _settled(x[start:stop], y[start:stop], at + start, to + start)
    low, high = _shared(x[start:stop], y[start:stop])
    if high - low < LEAST:
        return whole
    low, high = start + low, start + high
    part = _settled(x[low:high], y[low:high], at + low, to + low)
    return part if part.weight > whole.weight else whole


def _shared(x: F32, y: F32) -> tuple[int, int]:
    """The part of a run in which deviations are shared: where a scene goes on in both, it is no copy any more."""
    low, high = 0, len(x)
    for _ in range(2):
        dx, dy = x - x[low:high].mean(axis=0), y - y[low:high].mean(axis=0)
        both = np.einsum("ij,ij->i", dx, dx) + np.einsum("ij,ij->i", dy, dy)
        gain = 2 * np.einsum("ij,ij->i", dx, dy) - HALF * both
        sums = np.concatenate([[0.0], np.cumsum(gain)])
        lowest = np.minimum.accumulate(sums)
        high = int(np.argmax(sums - lowest))
        low = int(np.argmin(sums[: high + 1]))
        if high - low < LEAST:
            break
    return low, high


def _settled(x: F32, y: F32, first: int, second: int) -> Alignment:
    """A run with its score at the moment between two pictures that fits best; the outermost have no neighbour there."""
    best = _judged(x, y, first, second)
    inner = slice(1, -1) if len(x) > LEAST else slice(None)
    for share in BETWEEN:
        places = np.clip(np.arange(len(y)) + (1 if share > 0 else -1), 0, len(y) - 1)
        blended = (1 - abs(share)) * y + abs(share) * y[places]
        found = _judged(x[inner], np.asarray(blended[inner], np.float32), first, second)
        if found.score > best.score:
            best = replace(best, score=found.score)
    return best


def _judged(x: F32, y: F32, first: int, second: int) -> Alignment:
    """A run of normed pictures (T, P) of both, from some place on, with its score."""
    likeness = float(np.einsum("ij,ij->i", x, y).mean())
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    ex, ey = float(np.sqrt((dx * dx).sum() / len(x))), float(np.sqrt((dy * dy).sum() / len(y)))
    if min(ex, ey) < STILL:
        score = likeness if likeness >= STILL_SAME and max(ex, ey) < 2 * STILL else 0.0
    else:
        score = float((dx * dy).sum() / len(x) / (ex * ey))
    return Alignment((first, first + len(x)), (second, second + len(x)), score, likeness)


def _normed(pictures: F32) -> F32:
    """Each picture as a vector of mean 0 and length 1, (..., H, W) -> (..., H * W); a flat one stays shorter."""
    flat: F32 = pictures.reshape(*pictures.shape[:-2], -1)
    flat = flat - flat.mean(axis=-1, keepdims=True)
    lengths = np.sqrt(np.einsum("...i,...i->...", flat, flat))
    flat /= np.maximum(lengths, LEAST_CONTRAST * np.sqrt(flat.shape[-1]))[..., None].astype(np.float32)
    return np.asarray(flat, np.float32)


def within(pictures: Luma, content: tuple[float, float, float, float]) -> Luma:
    """What lies within x0, y0, x1, y1, in [0, 1], at full size: uint8 (T, 32, 32) -> uint8 (T, 32, 32)."""
    x0, y0, x1, y1 = content
    return np.rint(_sampled(pictures, SIDE, (y0, y1), (x0, x1))).astype(np.uint8)


def _sampled(pictures: Luma, side: int, high: Rows, wide: Rows) -> F32:
    """What lies between some rows and columns, in [0, 1], as side x side pixels: (T, 32, 32) -> (T, side, side)."""
    across = pictures.astype(np.float32) @ _areas(side, *wide).T
    return np.asarray(_areas(side, *high) @ across, np.float32)


def _all_cuts(pictures: Luma) -> F32:
    """Coarse pictures cut in all ways: (T, 32, 32) -> (ways, ways, T, 16, 16), by rows, then by columns."""
    areas = np.stack([_areas(COARSE, *span) for span in _spans()])
    across = pictures.astype(np.float32)[None] @ areas.transpose(0, 2, 1)[:, None]
    return np.asarray(areas[:, None, None] @ across[None], np.float32)


@cache
def _spans() -> tuple[Rows, ...]:
    """What a crop may leave of a side, in [0, 1]; nothing taken comes first."""
    steps = round(CUT_MOST / CUT_STEP)
    taken = [(before, cut - before) for cut in range(steps + 1) for before in range(cut + 1)]
    return tuple((before * CUT_STEP, 1 - behind * CUT_STEP) for before, behind in taken)


@cache
def _areas(side: int, low: float, high: float) -> F32:
    """Weights by which the pixels of a side make up so many of what lies between: float32 (side, 32), by area."""
    edges = (low + (high - low) * np.arange(side + 1) / side) * SIDE
    pixels = np.arange(SIDE)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(shared, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
