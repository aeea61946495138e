"""What is said is understood through speech to text: topics by a head on words, summaries and chapters of talks.

    python benchmarks/meaning.py FOLDER

Everything is spoken by hibari's voice and heard by moonshine, in a pipeline as users run it; FOLDER keeps the files and
the store, so that a second call only trains and counts. Needs the extras `speech`, `spoken`, `text` and `train`. The
last line is one JSON object:

- `topics`: talks about five things, of four sentences put together from each topic's own words and one that says
  nothing. A text head learns from 40 labeled clips, and is measured by its card, in folds by video, and on as many as
  `unseen_clips` that nobody labeled. `baseline` is the linear head on the texts' MiniLM vectors, in the same folds.
- `summaries`: of the ten talks of tests/talks.py that no setting was chosen on, how many summaries of three sentences
  hold the key sentence, by at least four in five of its words, and how far from where it was spoken the furthest is.
- `chapters`: these talks joined by threes: how many of the borders between talks have a chapter's begin within eight
  seconds, which is two sentences, and how many begins there are.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from speech import write_wav
from spoken import plain
from talks import CHATTER, OTHER_TALKS, talk

import vidray
from vidray.models.speaking import RATE, speaker
from vidray.planning import FixedStride
from vidray.store import Store

TOPICS = {
    "baking": (
        "the baker|my aunt|the apprentice|a good cook",
        "kneads|bakes|butters|sweetens",
        "the dough|a loaf of bread|the cake|the pastry|an apple pie",
        "with yeast and flour|in a hot oven|with sugar and cinnamon|before breakfast",
    ),
    "sailing": (
        "the skipper|the crew|an old sailor|the helmsman",
        "hoists|repairs|steers|anchors",
        "the mainsail|the yacht|the rudder|the boat|the keel",
        "in the harbour|before the storm|against the wind|along the coast",
    ),
    "medicine": (
        "the surgeon|a nurse|the young doctor|the pharmacist",
        "treats|examines|bandages|vaccinates",
        "the patient|a broken arm|the wound|the feverish child|an infection",
        "in the hospital|with antibiotics|after the operation|during the night shift",
    ),
    "football": (
        "the striker|the goalkeeper|our coach|the referee",
        "kicks|misses|stops|celebrates",
        "the penalty|the ball|the decisive goal|a corner kick|the match",
        "in the stadium|after half time|in front of the fans|in the last minute",
    ),
    "computing": (
        "the programmer|an engineer|the administrator|a hacker",
        "debugs|installs|deletes|encrypts",
        "the software|a database|the operating system|the password|the server",
        "on the laptop|over the network|with a script|before the update",
    ),
}
SENTENCES, VIDEOS, LABELED = 4, 16, 8
"""Of a talk, and of a topic; these come from its words at random, so that whole sentences hardly come twice."""
JOINED = 10
"""Talks of three."""
PAUSE_S = 0.6
NEAR_S = 8.0
LEAST_SHARED = 0.8

Floats = np.ndarray


def main() -> None:
    folder = Path(sys.argv[1])
    topics, planted = folder / "topics", folder / "talks"
    truth = spoken_topics(topics)
    starts = spoken_talks(planted)
    for kind, extractors in ((topics, ["moonshine", "transcript"]), (planted, ["moonshine", "summary"])):
        planner = FixedStride(60.0 if kind is topics else 10.0)
        vidray.extract(kind, folder / f"{kind.name}-store", extractors=extractors, planner=planner)
    found = {
        "versions": {name: version(name) for name in ("vidray", "hibari-tts", "moonshine-voice", "torch")},
        "topics": by_a_head(folder, truth),
        **of_talks(Store(str(folder / "talks-store")), starts),
    }
    print(json.dumps(found))


def spoken_topics(folder: Path) -> dict[str, str]:
    """The topic of each file, by its name."""
    draw, truth, said = np.random.default_rng(0), {}, {}
    for topic, banks in TOPICS.items():
        for number in range(VIDEOS):
            sentences = [" ".join(draw.choice(bank.split("|")) for bank in banks) for _ in range(SENTENCES)]
            sentences = [f"{one[0].upper()}{one[1:]}." for one in sentences] + draw.choice(CHATTER, 1).tolist()
            name = f"{topic}-{number:02d}"
            truth[name], said[name] = topic, [sentences[place] for place in draw.permutation(len(sentences))]
    for name, sentences in said.items():
        speak(folder / f"{name}.wav", sentences)
    return truth


def spoken_talks(folder: Path) -> dict[str, list[float]]:
    """When each sentence starts, by the names of files: ten talks, and others that are joined of three."""
    return {
        name: speak(folder / f"{name}.wav", [one for number in numbers for one in talk(number, OTHER_TALKS)])
        for name, numbers in talks().items()
    }


def talks() -> dict[str, list[int]]:
    """Which of the ten talks are in a file, by its name."""
    draw, count = np.random.default_rng(1), len(OTHER_TALKS)
    alone = {f"talk-{number}": [number] for number in range(count)}
    return alone | {f"joined-{number}": draw.choice(count, 3, replace=False).tolist() for number in range(JOINED)}


def speak(path: Path, sentences: list[str]) -> list[float]:
    """Write a file of sentences, unless it is there; the times at which they start."""
    times = path.with_suffix(".json")
    if not times.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        voice, pause = speaker("hibari"), np.zeros(round(PAUSE_S * RATE), np.float32)
        parts: list[Floats] = [pause]
        starts: list[float] = []
        for sentence in sentences:
            starts.append(sum(map(len, parts)) / RATE)
            parts += [voice(sentence), pause]
        write_wav(path, np.concatenate(parts), sample_rate=RATE)
        times.write_text(json.dumps(starts))
    found: list[float] = json.loads(times.read_text())
    return found


def by_a_head(folder: Path, truth: dict[str, str]) -> dict[str, object]:
    """A text head on some of the clips, and what it says of the others."""
    store = folder / "topics-store"
    clips = {name_of(row): row["clip_id"] for row in rows(Store(str(store)), "clips", ["clip_id", "uri"])}
    assert len(clips) == len(truth)
    labeled = [name for name in truth if int(name[-2:]) < LABELED]
    file = folder / "labels.csv"
    file.write_text("\n".join(["clip_id,label", *(f"{clips[name]},{truth[name]}" for name in labeled)]) + "\n")
    trained = vidray.train(store, file, name="topic", head="text", extractor="transcript")
    head = vidray.open_head(store, "topic")
    vidray.label(store, head, name="topic", top=1)
    said = {name_of(row): row["label"] for row in rows(Store(str(store)), "labels/topic", ["uri", "label"])}
    others = sorted(set(truth) - set(labeled))
    config = json.loads((store / "heads/topic/config.json").read_text())
    shown = ("accuracy", "accuracy_low", "accuracy_high")
    return {
        "labeled_clips": trained.clips,
        **{name: round(trained.metrics[name], 3) for name in shown},
        "baseline": round(config["baseline"]["accuracy"], 3),
        "unseen_clips": len(others),
        "unseen_accuracy": round(float(np.mean([said.get(name) == truth[name] for name in others])), 3),
    }


def of_talks(store: Store, starts: dict[str, list[float]]) -> dict[str, object]:
    """What the summaries and chapters of the talks hold of the truth."""
    videos = {name_of(row): row for row in rows(store, "video_features/summary", ["uri", "key_sentences", "chapters"])}
    held, away_s, near, begins = 0, [0.0], 0, 0
    for name, numbers in talks().items():
        said = [one for number in numbers for one in talk(number, OTHER_TALKS)]
        if len(numbers) == 1:
            key = OTHER_TALKS[numbers[0]][0]
            alike = [one for one in videos[name]["key_sentences"] if shared(key, one["text"]) >= LEAST_SHARED]
            held += bool(alike)
            away_s += [abs(one["start_s"] - starts[name][said.index(key)]) for one in alike]
        else:
            found = [one["start_s"] for one in videos[name]["chapters"]][1:]
            borders = [starts[name][len(said) // 3 * number] for number in (1, 2)]
            near += sum(any(abs(one - border) <= NEAR_S for one in found) for border in borders)
            begins += len(found)
    return {
        "summaries": {"talks": len(OTHER_TALKS), "held": held, "furthest_s": round(max(away_s), 2)},
        "chapters": {"borders": 2 * JOINED, "found": near, "begins": begins},
    }


def shared(wanted: str, heard: str) -> float:
    """How many of a sentence's words are in another one, as a part."""
    words = plain(wanted).split()
    return sum(word in plain(heard).split() for word in words) / len(words)


def rows(store: Store, table: str, columns: list[str]) -> list[dict[str, Any]]:
    return [row for part in store.parts(table) for row in store.read(table, part, columns).to_pylist()]


def name_of(row: dict[str, Any]) -> str:
    return Path(re.sub(r"^\w+://", "", str(row["uri"]))).stem


if __name__ == "__main__":
    main()
