"""How well tracks keep who is who: IDF1 on made scenes with known truth, at 2, 5 and 10 frames a second.

What limits it is not the tracker's speed but how far things move between two frames: where a box does not overlap with
where its track should be, nothing but luck joins them. A scene has 2 to 20 things that walk through, cross each other,
come in, go out or stand; half of them are hidden once for up to a second. The truth goes on while something is hidden,
as in MOTChallenge. Detections are perfect, or a fifth is dropped and the rest jitters by 5% of a box's sides. IDF1
(Ristani et al. 2016) is motmetrics', at an intersection over union of at least 0.5.

    python benchmarks/tracking.py [SCENES]
"""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import motmetrics
import numpy as np
import numpy.typing as npt

from vidray.extractors.vision.crowds import Track
from vidray.extractors.vision.tracks import Tracks
from vidray.media import Clip, ClipInput

SCENE_S = 20.0
CLIP_S = 5.0
RATES = (2.0, 5.0, 10.0)
DROPPED = 0.2
JITTER = 0.05
LEAST_OVERLAP = 0.5
LINE = "0.5,0,0.5,1"
"""Down the middle of the frame."""
LEAST_IN_VIEW = 0.5
"""A thing counts as there from half of its box in the frame on."""

Box = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A box that moves: x, y of its middle at `start_s` and their speeds, as parts of the frame's sides a second."""

    start_s: float
    end_s: float
    x: float
    y: float
    speed_x: float
    speed_y: float
    width: float
    height: float
    sway: float
    sways_a_second: float
    hidden_s: tuple[float, float]

    def middle(self, time_s: float) -> tuple[float, float]:
        """Where its middle is."""
        gone_s = time_s - self.start_s
        sway = self.sway * math.sin(2 * math.pi * self.sways_a_second * gone_s)
        return self.x + self.speed_x * gone_s + sway, self.y + self.speed_y * gone_s

    def box(self, time_s: float) -> Box | None:
        """Its box, cut to the frame; None where it is not there."""
        if not self.start_s <= time_s < self.end_s:
            return None
        x, y = self.middle(time_s)
        half_width, half_height = self.width / 2, self.height / 2
        box = np.array([x - half_width, y - half_height, x + half_width, y + half_height]).clip(0, 1)
        in_view = (box[2] - box[0]) * (box[3] - box[1]) / (self.width * self.height)
        return box if in_view >= LEAST_IN_VIEW else None

    def is_hidden(self, time_s: float) -> bool:
        """Whether something is before it."""
        return self.hidden_s[0] <= time_s < self.hidden_s[1]


def scene(seed: int, *, seconds: float = SCENE_S) -> list[Thing]:
    """The things of a scene; every third walks through, the others stroll, half of these from the beginning on."""
    rng = np.random.default_rng(seed)
    return [_thing(rng, seconds) for _ in range(rng.integers(2, 21))]


def _thing(rng: np.random.Generator, seconds: float) -> Thing:
    height = rng.uniform(0.12, 0.3)
    width = height * rng.uniform(0.4, 0.8)
    kind = ("through", "from the beginning", "later")[rng.integers(3)]
    start_s = 0.0 if kind == "from the beginning" else rng.uniform(0, 0.6 * seconds)
    if kind == "through":
        direction, speed = rng.choice([-1.0, 1.0]), rng.uniform(0.05, 0.2)
        x, y = 0.5 - direction * (0.5 + width / 2), rng.uniform(0.2, 0.8)
        speeds = direction * speed, rng.uniform(-0.02, 0.02)
        end_s = start_s + (1 + width) / speed
    else:
        x, y = rng.uniform(0.15, 0.85, 2)
        angle, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.1)
        speeds = speed * math.cos(angle), speed * math.sin(angle)
        end_s = seconds
    hidden_from_s = rng.uniform(start_s + 1, start_s + 6) if rng.random() < 0.5 else math.inf
    return Thing(
        start_s=start_s, end_s=min(seconds, end_s), x=x, y=y, speed_x=speeds[0], speed_y=speeds[1], width=width,
        height=height, sway=rng.uniform(0, 0.01), sways_a_second=rng.uniform(0.1, 0.4),
        hidden_s=(hidden_from_s, hidden_from_s + rng.uniform(0.2, 1.0)),
    )  # fmt: skip


def truth(things: Sequence[Thing], time_s: float) -> dict[int, Box]:
    """The boxes of all that is there, hidden or not, by the things' numbers."""
    boxes = {number: thing.box(time_s) for number, thing in enumerate(things)}
    return {number: box for number, box in boxes.items() if box is not None}


def detected(
    things: Sequence[Thing], times_s: Sequence[float], *, dropped: float = 0.0, jitter: float = 0.0, seed: int = 0
) -> list[dict[str, Any]]:
    """What a detector sees of them: rows as of `detections`."""
    rng = np.random.default_rng(seed)
    found = []
    for time_s in times_s:
        for number, box in truth(things, time_s).items():
            if things[number].is_hidden(time_s) or rng.random() < dropped:
                continue
            sides = np.tile(box[2:] - box[:2], 2)
            seen = (box + rng.normal(0, 1, 4) * jitter * sides).clip(0, 1).astype(np.float32).tolist()
            corners = dict(zip(("x0", "y0", "x1", "y1"), seen, strict=True))
            found.append({"time_s": time_s, "label": "person", "score": 0.9, **corners})
    return found


def clips_of(seen: Sequence[Mapping[str, Any]], *, length_s: float, seconds: float = SCENE_S) -> list[ClipInput]:
    """What a detector saw in a video, in clips of a length."""
    items = []
    for index in range(math.ceil(seconds / length_s)):
        start_s, end_s = index * length_s, min(seconds, (index + 1) * length_s)
        clip = Clip(clip_id=f"c{index}", video_id="v", uri="v.mp4", clip_index=index, start_s=start_s, end_s=end_s)
        inside = [one for one in seen if start_s <= one["time_s"] < end_s]
        items.append(ClipInput(clip=clip, values={"seen": {"detections": inside}}))
    return items


def times_of(rate: float, *, seconds: float = SCENE_S) -> list[float]:
    """The times of a scene's frames."""
    return [number / rate for number in range(round(seconds * rate))]


def idf1(scenes: Iterator[tuple[Sequence[Thing], Sequence[float], Sequence[Track]]]) -> dict[str, float]:
    """IDF1 over all of some scenes, that of the worst of them, and how often a thing's number changed."""
    held = [_accumulated(*one) for one in scenes]
    metrics = motmetrics.metrics.create().compute_many(held, metrics=["idf1", "num_switches"], generate_overall=True)
    overall = metrics.loc["OVERALL"]
    worst = float(metrics["idf1"].iloc[:-1].min())
    return {"idf1": float(overall["idf1"]), "worst": worst, "switches": int(overall["num_switches"])}


def _accumulated(things: Sequence[Thing], times_s: Sequence[float], tracks: Sequence[Track]) -> Any:
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    found: dict[float, dict[int, Box]] = {}
    for track in tracks:
        for place in track.places:
            found.setdefault(place.time_s, {})[track.number] = np.asarray(place.sides)
    for time_s in times_s:
        there, ours = truth(things, time_s), found.get(time_s, {})
        accumulator.update(list(there), list(ours), _distances(list(there.values()), list(ours.values())))
    return accumulator


def _distances(there: Sequence[Box], ours: Sequence[Box]) -> Box:
    """1 less the intersection over union, NaN where that is too small: motmetrics' own needs a numpy before 2."""
    a, b = np.reshape(there, (-1, 1, 4)), np.reshape(ours, (1, -1, 4))
    shared = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    overlap = shared / (areas - shared)
    return np.where(overlap >= LEAST_OVERLAP, 1 - overlap, np.nan)


def tracked(
    seeds: Sequence[int], rate: float, *, dropped: float, jitter: float
) -> Iterator[tuple[list[Thing], list[float], list[Track]]]:
    """Scenes with the times of their frames and the tracks that vidray finds in them."""
    for seed in seeds:
        things, times_s = scene(seed), times_of(rate)
        seen = detected(things, times_s, dropped=dropped, jitter=jitter, seed=seed)
        yield things, times_s, Tracks().tracked(clips_of(seen, length_s=CLIP_S))[1]


def crossed(things: Sequence[Thing], times_s: Sequence[float]) -> tuple[int, int]:
    """How many middles pass `LINE` to the left and to the right, between the first and last time they are seen."""
    left = right = 0
    for thing in things:
        there = [time_s for time_s in times_s if thing.box(time_s) is not None]
        seen = [time_s for time_s in there if not thing.is_hidden(time_s)]
        if len(seen) < 2:
            continue
        sides = [thing.middle(time_s)[0] > 0.5 for time_s in there if seen[0] <= time_s <= seen[-1]]
        left += sum(was and not now for was, now in pairwise(sides))
        right += sum(now and not was for was, now in pairwise(sides))
    return int(left), int(right)


def lines(seeds: Sequence[int], rate: float) -> dict[str, int]:
    """In how many scenes all that pass the line are counted, with perfect detections, and how many pass in all."""
    exact = passes = 0
    for seed in seeds:
        things, times_s = scene(seed), times_of(rate)
        _, video = Tracks(line=LINE).load("cpu")(clips_of(detected(things, times_s), length_s=CLIP_S))
        wanted = crossed(things, times_s)
        exact += (video["line_in"], video["line_out"]) == wanted
        passes += sum(wanted)
    return {"exact": exact, "passes": passes}


def main() -> None:
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
    figures: dict[str, Any] = {"scenes": len(seeds)}
    print(f"python {platform.python_version()}, trackers {version('trackers')}, motmetrics {version('motmetrics')}")
    for rate in RATES:
        for what, dropped, jitter in (("perfect", 0.0, 0.0), ("noisy", DROPPED, JITTER)):
            began = time.process_time()
            found = idf1(tracked(seeds, rate, dropped=dropped, jitter=jitter))
            took_s = time.process_time() - began
            figures[f"{what}_at_{rate:g}"] = found
            print(
                f"{rate:4g} a second, {what:7}: IDF1 {found['idf1']:.4f}, worst scene {found['worst']:.3f}, "
                f"{found['switches']} switches; {took_s:.0f} s"
            )
        figures[f"lines_at_{rate:g}"] = found = lines(seeds, rate)
        print(f"{rate:4g} a second, line   : exact in {found['exact']} scenes; {found['passes']} passes")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
