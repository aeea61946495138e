"""The store that corruptions are tried on: real media, every kind of table, a derived one, labels, and an index."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.campaigns.chaos_runs import Forked
from vidray.media import ClipInput, Columns
from vidray.testing import Sweep, SyntheticVideo, write_video

COLOUR, PICKY, BRIGHTNESS, PETS = "mean_colour", "fails_on_dark", "brightness", "pets"
MADE_BY = {
    COLOUR: "extractors_for_tests:MeanColour",
    PICKY: "extractors_for_tests:FailsOnDark?limit=50",
    BRIGHTNESS: "tests.campaigns.damaged_store:Brightness",
}
CLIP_S = "0.2"
PART_VIDEOS, BLOCK_CLIPS = 2, 8
VIDEOS = 4


@dataclass(frozen=True, kw_only=True)
class Brightness:
    """How bright a clip is, from its mean colour; and of each video, how bright its brightest clip is."""

    name: str = BRIGHTNESS
    scope: str = "video"

    @property
    def inputs(self) -> Mapping[str, Any]:
        return {"colours": Columns(COLOUR, ["embedding"])}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("brightness", pa.float32())])

    @property
    def video_schema(self) -> pa.Schema:
        return pa.schema([("brightest", pa.float32())])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> tuple[dict[str, Any], dict[str, Any]]:
            means = [float(np.mean(item["colours"]["embedding"])) for item in items]
            return {"brightness": means}, {"brightest": max(means)}

        return extract


@dataclass(frozen=True)
class Made:
    """A store, and what it was made of.

    Attributes:
        folder: Where it lies with its corpus, the file of labels and the logs.
        environ: Of the commands.
    """

    folder: Path
    environ: Mapping[str, str]

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def labels(self) -> Path:
        return self.folder / "labels.csv"

    def extract(self, store: Path, *tables: str, options: Sequence[str] = ()) -> tuple[int, str]:
        """Run the command that makes the store's tables, or some of them; returns its status and what it said."""
        asked = [option for table in tables or MADE_BY for option in ("-x", MADE_BY[table])]
        return self.run("extract", str(self.corpus), str(store), "--clip-length", CLIP_S, *asked, *options)

    def import_labels(self, store: Path) -> tuple[int, str]:
        """Take the labels in that were given by hand."""
        return self.run("import", str(store), str(self.labels), "--name", PETS)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command of vidray to its end; returns its status and what it said."""
        log = self.folder / "command.log"
        return Forked(arguments, dict(self.environ), log).wait(), log.read_text()


def make(folder: Path) -> Made:
    """Write the corpus, fill the store, label some clips by hand, and build the index of the embeddings."""
    made = Made(folder, {"VIDRAY_CHAOS_UNITS": f"{PART_VIDEOS} {BLOCK_CLIPS}"})
    made.corpus.mkdir(parents=True)
    for number in range(VIDEOS):
        video = SyntheticVideo(frames=10 + 2 * number, fps=10, audio=Sweep(length_s=1.0))
        write_video(made.corpus / f"{number}.mp4", video)
    (made.corpus / "unreadable.mp4").write_bytes(b"this is no video")
    _done(made.extract(made.store))
    lines = [f"{made.corpus}/{number}.mp4,0,0.4,{label}" for number, label in enumerate(("cat", "dog", "cat", "dog"))]
    made.labels.write_text("\n".join(["uri,start_s,end_s,label", *lines, ""]))
    _done(made.import_labels(made.store))
    _done(made.run("index", str(made.store), "-x", COLOUR, "--workers", "1"))
    return made


def copy(made: Made, to: Path) -> Path:
    """The store once more, in place of what is there."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(made.store, to)
    return to


def _done(ended: tuple[int, str]) -> None:
    if ended[0] != 0:
        raise RuntimeError(f"a store could not be made: {ended[1]}")
