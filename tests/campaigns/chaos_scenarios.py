"""What chaos campaigns run: a command, and the store and corpus that it finds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.campaigns.chaos_runs import Forked

VIDEOS = "abcdefg"
CLIP_LENGTH = ("--clip-length", "0.1")
COLOURS = ("-x", "extractors_for_tests:MeanColour")
LOUDNESS = ("-x", "extractors_for_tests:Loudness")
PICKY = ("-x", "extractors_for_tests:FailsOnDark")
THREE = (*COLOURS, *LOUDNESS, *PICKY)
DERIVED = ("-x", "extractors_for_tests:Crescendo")
OBJECTS = ("ssd?fps=1", "tracks", "object_events", "person_mask?fps=1", "regions_over_time")
WORDS = (
    "voice_activity", "moonshine", "ocr?fps=0.5", "text_embedding?of=ocr",
    *(f"{name}?of=transcript" for name in ("language", "sentiment", "text_embedding")),
)  # fmt: skip


@dataclass
class Scenario:
    """A command, the store and the corpus that it finds, and what it makes of the store when nobody disturbs it.

    Attributes:
        expected: Every file of the store afterwards; learnt by an undisturbed run, as is `usual_s`.
    """

    name: str
    corpus: Path
    initial: Path
    options: tuple[str, ...]
    changes_what_is_done: bool = False
    expected: dict[str, bytes] = field(default_factory=dict)
    usual_s: float = 0.0

    def arguments(self, store: Path) -> list[str]:
        return [str(self.corpus), str(store), *self.options]


def first_run(folder: Path, environ: dict[str, str]) -> Scenario:
    """Three extractors, one of which fails on some clips, over seven videos and a broken one, in three parts."""
    return _first_run(folder, frames=8)


def long_first_run(folder: Path) -> Scenario:
    """The same with eight times as many clips: a run with time to be killed in."""
    return _first_run(folder, frames=64)


def objects(folder: Path, environ: dict[str, str]) -> Scenario:
    """Detections, the tracks that they make, what these do, masks, and their areas: three levels, over real people."""
    return _objects(folder, VIDEOS[:4], length="2")


def long_objects(folder: Path) -> Scenario:
    """The same with more videos, in shorter clips."""
    return _objects(folder, VIDEOS, length="1")


def _objects(folder: Path, names: str, *, length: str) -> Scenario:
    import ai_edge_litert.interpreter  # noqa: F401  forks need not import it again
    import trackers  # noqa: F401
    from media_files import packaged

    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    (folder / "initial").mkdir()
    for name in names:
        shutil.copyfile(packaged("carphone_pristine.mp4"), corpus / f"{name}.mp4")
    named = (option for name in OBJECTS for option in ("-x", name))
    return Scenario("objects", corpus, folder / "initial", ("--clip-length", length, "--masks", *named))


def _first_run(folder: Path, *, frames: int) -> Scenario:
    corpus = _write_corpus(folder, frames=frames)
    (folder / "initial").mkdir()
    return Scenario("first run", corpus, folder / "initial", (*CLIP_LENGTH, *THREE))


def changed(folder: Path, environ: dict[str, str]) -> Scenario:
    """One video is new, one changed, one gone."""
    corpus = _write_corpus(folder)
    options = (*CLIP_LENGTH, *COLOURS)
    _do(["extract", str(corpus), str(folder / "initial"), *options], folder, environ)
    shutil.copyfile(corpus / "a.mp4", corpus / "h.mp4")
    (corpus / "b.mp4").write_bytes((corpus / "b.mp4").read_bytes() + bytes(8))
    (corpus / "e.mp4").unlink()
    options = (*options, "--prune", "--refresh")
    return Scenario("refresh and prune", corpus, folder / "initial", options, changes_what_is_done=True)


def healed(folder: Path, environ: dict[str, str]) -> Scenario:
    """In one part a video comes back and another stays lost, in one a video comes back, in one nothing was there."""
    corpus = _write_corpus(folder)
    options = (*CLIP_LENGTH, *THREE)
    _do(["plan", str(corpus), str(folder / "initial"), *CLIP_LENGTH], folder, environ)
    for name in "bceg":
        (corpus / f"{name}.mp4").rename(folder / f"{name}.mp4")
    _do(["extract", str(corpus), str(folder / "initial"), *options], folder, environ)
    for name in "beg":
        (folder / f"{name}.mp4").rename(corpus / f"{name}.mp4")
    options = (*options, "--retry-failed")
    return Scenario("retry", corpus, folder / "initial", options, changes_what_is_done=True)


def cut_by_shots(folder: Path, environ: dict[str, str]) -> Scenario:
    """The plan is made by looking for shots, and filled by three extractors."""
    corpus = _write_corpus(folder, frames=24)
    (folder / "initial").mkdir()
    return Scenario("shots", corpus, folder / "initial", ("--shots", "--clip-length", "0.5", *THREE))


def two_levels(folder: Path, environ: dict[str, str]) -> Scenario:
    """A table is filled from the media, and another one from that table, a video at a time."""
    corpus = _write_corpus(folder)
    (folder / "initial").mkdir()
    return Scenario("two levels", corpus, folder / "initial", (*CLIP_LENGTH, *LOUDNESS, *DERIVED))


def spoken(folder: Path, environ: dict[str, str]) -> Scenario:
    """Speech and screen text in two parts, and what is made of them, in three levels."""
    return _spoken(folder, VIDEOS[:4], length_s=4)


def long_spoken(folder: Path) -> Scenario:
    """The same with more and longer videos."""
    return _spoken(folder, VIDEOS, length_s=10)


def _spoken(folder: Path, names: str, *, length_s: int) -> Scenario:
    from spoken import RATE, librivox

    from vidray.testing.slides import write_slides

    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    samples = np.concatenate([samples for samples, _ in librivox()])
    for number, name in enumerate(names):
        said = samples[number * RATE :][: length_s * RATE]
        write_slides(corpus / f"{name}.mp4", (f"Chapter {number}", "The Harvest"), said, sample_rate=RATE)
    (folder / "initial").mkdir()
    options = ("--clip-length", "2", *(option for name in WORDS for option in ("-x", name)))
    return Scenario("speech", corpus, folder / "initial", options)


MAKE = {"extract": first_run, "change": changed, "retry": healed, "shots": cut_by_shots, "levels": two_levels}
ALL = {**MAKE, "speech": spoken, "objects": objects}
"""With what needs recordings and large weights, and is tried where it is named."""
LONG = {"first": long_first_run, "objects": long_objects, "speech": long_spoken}
"""What the kills at random moments hit: runs with time to be killed in."""


def _do(arguments: list[str], folder: Path, environ: dict[str, str]) -> None:
    log = folder / "making.log"
    process = Forked(arguments, environ, log)
    process.wait()
    if process.poll() != 0:
        raise RuntimeError(f"{arguments[0]} fails undisturbed: {log.read_text()}")


def _write_corpus(folder: Path, *, frames: int = 8) -> Path:
    from vidray.testing import Sweep, SyntheticVideo, write_video

    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for name in VIDEOS:
        write_video(corpus / f"{name}.mp4", SyntheticVideo(frames=frames, fps=10, audio=Sweep(length_s=frames / 10)))
    (corpus / "unreadable.mp4").write_bytes(b"this is no video")
    return corpus
