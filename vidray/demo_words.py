"""The demo's spoken and written answers: a video is made of a recording that a package carries, with two captions."""

from __future__ import annotations

import importlib.metadata
import os
import wave
from pathlib import Path

import numpy as np
from rich.console import Console

from vidray.errors import MissingExtraError
from vidray.retrieval.indexing import index_words
from vidray.retrieval.search import search
from vidray.terminal import shown

NAME = "two_cities.mp4"
PACKAGE = "moonshine-voice"
RECORDING = "moonshine_voice/assets/two_cities.wav"
LENGTH_S = 16
CAPTIONS = ("A Tale of Two Cities", "Book the First")
SPEECH, SCREEN = "moonshine", "ocr"
ASKED = ((SPEECH, "speech", "wisdom and foolishness"), (SCREEN, "screen", '"Book the First"'))


def with_spoken_video(folder: str) -> str:
    """A list of a folder's videos and of one in which somebody reads, which is made where caches are kept."""
    from vidray.testing.slides import write_slides

    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vidray" / "demo"
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / NAME).is_file():
        samples, rate = _recording()
        # renamed when it is whole: a demo that was interrupted leaves no half of it
        write_slides(cache / f"writing-{NAME}", CAPTIONS, samples, sample_rate=rate)
        (cache / f"writing-{NAME}").replace(cache / NAME)
    listed = cache / "corpus.txt"
    listed.write_text("".join(f"{path}\n" for path in (*sorted(Path(folder).glob("*.mp4")), cache / NAME)))
    return str(listed)


def _recording() -> tuple[np.ndarray, int]:
    try:
        path = importlib.metadata.distribution(PACKAGE).locate_file(RECORDING)
    except importlib.metadata.PackageNotFoundError as e:
        raise MissingExtraError("the demo", "demo") from e
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        return np.frombuffer(file.readframes(LENGTH_S * rate), "<i2").astype(np.float32) / 32768, rate


def show_answers(store: str, console: Console) -> None:
    """Index what is said and written, and answer a question about each."""
    for table, modality, text in ASKED:
        index_words(store, table)
        console.print(f"   {text} --in {modality}", highlight=False, markup=False)
        for hit in search(store, text=text, modality=modality, k=1).hits:
            span = f"{hit.start_s:.1f}-{hit.end_s:.1f} s"
            said = shown(getattr(hit, "text", None) or "")
            console.print(f"   {hit.score:.3f}  {shown(Path(str(hit.uri)).name)} {span}: {said}", highlight=False)
