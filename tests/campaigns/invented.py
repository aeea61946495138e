"""What speech to text makes of music, engines, wind and silence, and how much of what was said is taken for invented.

    python -m tests.campaigns.invented [--whisper FOLDER] [--music FOLDER]

Each sound is asked in two ways: as a run asks, where voice activity comes first; and as if all of it were surely
speech, in pieces of 10 s, which shows what the flags of texts alone catch. What is unflagged in the first way is kept
as a fact, so there must be none. Of true words, of LibriVox and of a synthesised voice, clean, in pink noise of 5 dB
and over music 10 dB below them, at most 2% may be flagged. `--music` adds the first minute of each file of a folder in
which nobody speaks or sings. The last line is one JSON object; the exit status is 1 where a law is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from spoken import RATE, Floats, film_music, librivox, not_speech, pink_noise, silence, sound_of_file
from test_speech import cut, even
from word_corpus import SCRIPTS, voices

from vidray.extractors.speech import moonshine, transcribing, whisper
from vidray.extractors.speech.moonshine import MoonshineText
from vidray.extractors.speech.transcribing import Written, why_invented
from vidray.extractors.speech.whisper import Whisper

PIECE_S = 10.0
SUFFIXES = {".ogg", ".wav", ".mp3", ".flac"}
LOUDNESS = (1.0, 0.2)
MOST_FLAGGED = 0.02
SPOKEN = 12
"""How many of the videos' scripts a synthesised voice reads."""

WriteFn = Callable[[Sequence[Floats]], Sequence[Written]]


def sounds(music: str | None) -> dict[str, list[Floats]]:
    """Twenty seconds and more of each kind, loud and quiet, and a minute of each file of a folder."""
    kinds = {kind: not_speech(kind, 20.0) for kind in ("music", "wind", "engine", "silence")}
    kinds |= {"film music": np.resize(film_music(), 20 * RATE), "zeros": silence(20.0)}
    found = {kind: [np.float32(gain) * samples for gain in LOUDNESS] for kind, samples in kinds.items()}
    if music is not None:
        files = sorted(path for path in Path(music).rglob("*") if path.suffix in SUFFIXES)
        found["recorded"] = [sound_of_file(path)[: 60 * RATE] for path in files]
    return found


def engine(extractor: Any, module: Any) -> tuple[Any, WriteFn]:
    """The extractor's function, and the one inside it that takes all it is given for speech."""
    held: list[WriteFn] = []

    def keep(write: WriteFn) -> Any:
        held.append(write)
        return transcribing.transcriber(write)

    module.transcriber = keep
    return extractor.load("cpu"), held[0]


def asked(extractor: Any, extract: Any, write: WriteFn, samples: Floats) -> dict[str, int]:
    """Segments, and texts that are flagged and kept, in both ways."""
    row = extract(cut(samples, even(samples, 10.0), extractor))
    segments = [one for clip in row["segments"] for one in clip]
    size = round(PIECE_S * RATE)
    pieces = [samples[first : first + size] for first in range(0, len(samples), size)]
    reasons = [why_invented(one, PIECE_S, sure_share=1.0) for one in write(pieces) if one.text]
    return {
        "segments": len(segments),
        "kept": sum(bool(one["text"]) and one["invented"] is None for one in segments),
        "forced_texts": len(reasons),
        "forced_kept": sum(reason is None for reason in reasons),
    }


def spoken() -> dict[str, Floats]:
    """What is said, clean and in noise."""
    parts = [samples for samples, _ in librivox()] + voices(list(SCRIPTS)[:SPOKEN])
    clean = np.concatenate([part for one in parts for part in (one, silence(1.0))])
    # of what is said alone, without the pauses
    power = float(np.mean(np.square(clean[np.abs(clean) > 1e-3])))
    music = np.resize(film_music(), len(clean))
    music *= np.sqrt(power / np.mean(np.square(music)) / 10)
    noise = pink_noise(len(clean)) * np.float32(np.sqrt(power / 10**0.5))
    return {"clean": clean, "pink noise, 5 dB": clean + noise, "music, 10 dB": clean + music}


def words_flagged(extractor: Any, extract: Any, samples: Floats) -> dict[str, int]:
    """How many of the words that are written are flagged, and how many there are."""
    row = extract(cut(samples, even(samples, 10.0), extractor))
    counted = [(len(one["text"].split()), one) for clip in row["segments"] for one in clip]
    for _, one in counted:
        if one["invented"]:
            sys.stderr.write(f"flagged as {one['invented']}: {one['text']}\n")
    return {"flagged": sum(n for n, one in counted if one["invented"]), "of": sum(n for n, _ in counted)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whisper", metavar="FOLDER")
    parser.add_argument("--music", metavar="FOLDER")
    options = parser.parse_args()
    engines: dict[str, tuple[Any, Any]] = {"moonshine": (MoonshineText(), moonshine)}
    if options.whisper:
        engines["whisper"] = Whisper(size=options.whisper, compute_type="int8"), whisper
    found: dict[str, Any] = {}
    broken = 0
    for name, (extractor, module) in engines.items():
        extract, write = engine(extractor, module)
        found[name] = {}
        for kind, some in sounds(options.music).items():
            each = [asked(extractor, extract, write, samples) for samples in some]
            found[name][kind] = {what: sum(one[what] for one in each) for what in each[0]}
            print(f"{name:10} {kind:11} {found[name][kind]}")
            broken += found[name][kind]["kept"]
        for how, samples in spoken().items():
            found[name][how] = words_flagged(extractor, extract, samples)
            print(f"{name:10} {how:16} {found[name][how]}")
            broken += found[name][how]["flagged"] > MOST_FLAGGED * found[name][how]["of"]
    print(json.dumps(found))
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
