"""Twenty queries in words that nobody had seen answered when they were written, on real pictures and sounds.

    python -m tests.campaigns.stamp_queries FOLDER

Debian's tuxpaint-stamps-default has pictures of things and sounds of them, each with its name. Of these 24 pictures
and 20 sounds are drawn by a seed, without symbols, cartoons and people; each becomes a video, beside those of
`text_queries.py`. The queries are what one would type for those of them that people look for; they were written when
the draw was known and no answer was. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.campaigns.text_queries import LENGTH_S, RATE, Floats, ask, make, ramp, write_video

STAMPS = Path("/usr/share/tuxpaint/stamps")
NO_THINGS = ("symbols", "seasonal", "town/roadsigns", "town/flags", "people", "military")
HEARD = ("animals", "household", "hobbies", "vehicles", "naturalforces")
SPOKEN = re.compile(r"_desc(_|\.|$)|_[a-z]{2}(_[A-Z]{2})?$")
"""Names of files in which somebody says what is to be seen."""

SEED, PICTURES, SOUNDS = 20261129, 24, 20
WALL = (205, 210, 200, 255)

QUERIES = {
    "a teapot": {"seen-teapot"},
    "a red apple": {"seen-apple_red"},
    "an owl": {"seen-owl"},
    "an electric guitar": {"seen-guitar2"},
    "an elephant": {"seen-elephant", "heard-elephant"},
    "a kangaroo": {"seen-kangaroo"},
    "a mailbox": {"seen-usps_mailbox"},
    "a race car": {"seen-indycar"},
    "a pigeon": {"seen-pigeon"},
    "a flower": {"seen-flower8", "seen-whitestar-petunia", "flower"},
    "sheep": {"seen-sheep", "seen-ram"},
    "an eggplant": {"seen-eggplant"},
    "a frog croaking": {"heard-frog"},
    "a crow cawing": {"heard-crow"},
    "ducks quacking": {"heard-duck"},
    "someone playing the cello": {"heard-cello"},
    "a tiger roaring": {"heard-tiger"},
    "sawing wood": {"heard-saw"},
    "chickens clucking": {"heard-hen"},
    "a goose honking": {"heard-gander"},
}
"""What is right: the names of videos."""


def drawn() -> tuple[list[Path], list[Path]]:
    """The pictures and the sounds, of those that have a name."""
    named = [path for path in sorted(STAMPS.rglob("*.*")) if path.with_suffix(".txt").is_file()]
    things = [path for path in named if "cartoon" not in str(path) and "toys" not in str(path)]
    draw = random.Random(SEED)
    pictures = [
        path
        for path in things
        if path.suffix == ".png"
        and not str(path.relative_to(STAMPS)).startswith(NO_THINGS)
        and "_mirror" not in path.stem
    ]
    sounds = [
        path
        for path in things
        if path.suffix == ".ogg" and not SPOKEN.search(path.stem) and path.relative_to(STAMPS).parts[0] in HEARD
    ]
    return draw.sample(pictures, PICTURES), draw.sample(sounds, SOUNDS)


def on_a_wall(path: Path) -> Image.Image:
    """A picture, whose surroundings are transparent, in the middle of a frame of 4 by 3."""
    thing = Image.open(path).convert("RGBA")
    width = max(thing.width, thing.height * 4 // 3)
    wall = Image.new("RGBA", (int(width * 1.1), int(width * 3 // 4 * 1.1)), WALL)
    wall.alpha_composite(thing, ((wall.width - thing.width) // 2, (wall.height - thing.height) // 2))
    return wall


def heard(path: Path) -> Floats:
    """A sound again and again."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        pieces = [one.to_ndarray().ravel() for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return np.resize(np.concatenate(pieces), int(LENGTH_S * RATE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    videos, store = folder / "videos", str(folder / "store")
    if not videos.is_dir():
        make(videos, None)
        pictures, sounds = drawn()
        for path in pictures:
            write_video(videos / f"seen-{path.stem}.mp4", on_a_wall(path), None)
        for path in sounds:
            write_video(videos / f"heard-{path.stem}.mp4", ramp(), heard(path))
        from vidray.pipeline import extract

        extract(str(videos), store, extractors=["efficientnet_lite0", "yamnet"])
    print(json.dumps(ask(store, {path.stem for path in videos.iterdir()}, QUERIES)))


if __name__ == "__main__":
    main()
