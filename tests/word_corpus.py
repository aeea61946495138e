"""Thirty videos on five topics whose every word is known: a synthesised voice speaks, and captions stand in the frames.

What is said and written, and what is asked, was fixed before anything was searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidray.testing.slides import write_slides

RATE = 16_000
BEFORE_S, PAUSE_S = 0.4, 0.9

Floats = npt.NDArray[np.float32]

SCRIPTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # farm
    "wheat": (
        (
            "This year the harvest began two weeks early.",
            "The combine cut forty acres of wheat before the rain came.",
            "We store the grain in a tall silo behind the barn.",
        ),
        ("Harvest diary", "Chapter 3"),
    ),
    "cows": (
        (
            "The cows are milked at five every morning.",
            "Each animal gives thirty liters of milk a day.",
            "In winter they eat hay and silage in the stable.",
        ),
        ("Dairy farming today", "Chapter 4"),
    ),
    "bees": (
        (
            "A hive holds up to fifty thousand bees.",
            "The queen lays her eggs in the middle of the comb.",
            "In July we take out the frames and spin the honey.",
        ),
        ("The beekeeper", "Smoke calms them"),
    ),
    "orchard": (
        (
            "We prune the apple trees in late winter.",
            "Frost in May can kill every blossom overnight.",
            "Pickers climb ladders and fill wooden crates with fruit.",
        ),
        ("Apple orchard", "Ladder safety"),
    ),
    "tractor": (
        (
            "The old tractor would not start this morning.",
            "I changed the oil filter and cleaned the battery cables.",
            "A diesel engine needs to warm up when it is cold.",
        ),
        ("Repair shop", "Oil change every 250 hours"),
    ),
    "sheep": (
        (
            "Our dog drives the sheep down from the hill.",
            "They are shorn once a year before the summer heat.",
            "The wool is washed and spun into yarn.",
        ),
        ("Shearing day", "Grade A fleece"),
    ),
    # kitchen
    "bread": (
        (
            "Mix the flour with water, salt and yeast.",
            "Knead the dough for ten minutes until it is smooth.",
            "Bake the loaf in a very hot oven with some steam.",
        ),
        ("Sourdough basics", "Oven 230 degrees"),
    ),
    "soup": (
        (
            "Fry the onions slowly until they are brown.",
            "Pour in the chicken stock and add two carrots.",
            "Let the soup simmer for an hour with the lid on.",
        ),
        ("Onion soup", "Serves 6 people"),
    ),
    "cake": (
        (
            "Beat the butter and sugar until they are fluffy.",
            "Fold in the eggs one after another.",
            "Decorate the cake with melted chocolate and cherries.",
        ),
        ("Black forest cake", "Chill overnight"),
    ),
    "fish": (
        (
            "Ask for a fresh salmon with clear eyes.",
            "Squeeze a lemon over the fillet and season it with dill.",
            "Grill it for four minutes on each side.",
        ),
        ("Grilled salmon", "Remove all bones"),
    ),
    "coffee": (
        (
            "Grind the beans just before you brew them.",
            "The water should be a little below boiling.",
            "A good espresso takes about twenty five seconds.",
        ),
        ("Barista course", "Lesson 7"),
    ),
    "knife": (
        (
            "A dull blade is more dangerous than a sharp one.",
            "Hold the steel upright and draw the edge along it.",
            "Keep your fingertips curled while you chop vegetables.",
        ),
        ("Knife skills", "Never in the dishwasher"),
    ),
    # space
    "rocket": (
        (
            "The rocket lifts off with nine engines burning.",
            "After two minutes the first stage separates and falls back.",
            "It lands upright on a platform in the ocean.",
        ),
        ("Launch at 09:41", "Max Q"),
    ),
    "mars": (
        (
            "The rover has driven across the red planet for ten years.",
            "Its drill takes samples from the bed of an ancient lake.",
            "At night the temperature drops to minus eighty degrees.",
        ),
        ("Mars mission", "Sol 3217"),
    ),
    "moon": (
        (
            "The same side of the moon always faces the earth.",
            "Astronauts left their footprints in the gray dust.",
            "Its gravity pulls the oceans and makes the tides.",
        ),
        ("Lunar surface", "Apollo 17"),
    ),
    "telescope": (
        (
            "The mirror of the telescope is six meters wide.",
            "It looks at galaxies that are billions of light years away.",
            "Cold instruments measure the infrared glow of newborn stars.",
        ),
        ("Deep field", "Exposure 12 hours"),
    ),
    "eclipse": (
        (
            "During the eclipse the sky turns dark at noon.",
            "Never look at the sun without special glasses.",
            "A bright ring of gas appears around the black disk.",
        ),
        ("Total eclipse", "Use filters"),
    ),
    "station": (
        (
            "Six people live on the station and circle the earth every ninety minutes.",
            "They sleep in bags that are tied to the wall.",
            "Muscles grow weak because nothing has any weight up here.",
        ),
        ("Orbit 408 km", "Crew quarters"),
    ),
    # sea
    "harbor": (
        (
            "Huge cranes lift the containers from the ship.",
            "A pilot guides every vessel into the harbor.",
            "The port never closes, not even on Christmas.",
        ),
        ("Terminal 2", "Port authority"),
    ),
    "whale": (
        (
            "The blue whale is the largest animal that ever lived.",
            "It swallows tons of krill each day.",
            "Its song travels hundreds of miles under water.",
        ),
        ("Whale watching", "Keep 100 m away"),
    ),
    "sailing": (
        (
            "Pull the rope and raise the main sail.",
            "When the wind turns, the boom swings across the deck.",
            "Always wear a life jacket in rough weather.",
        ),
        ("Sailing school", "Knots and ropes"),
    ),
    "reef": (
        (
            "The coral reef is home to a quarter of all fish species.",
            "Warm water makes the corals lose their color and die.",
            "Divers plant small pieces that grow into new colonies.",
        ),
        ("Great barrier reef", "Bleaching 2016"),
    ),
    "lighthouse": (
        (
            "The lighthouse keeper lit the lamp every evening.",
            "Its beam could be seen from twenty miles away.",
            "Today the light is automatic and nobody lives in the tower.",
        ),
        ("Built in 1857", "149 steps"),
    ),
    "tide": (
        (
            "Twice a day the water leaves the mud flats.",
            "Children dig for worms and collect shells.",
            "Walkers must turn back before the flood returns.",
        ),
        ("Tide table", "High water 16:20"),
    ),
    # money and law
    "bank": (
        (
            "The central bank raised its interest rate by half a percent.",
            "Mortgages will become more expensive for young families.",
            "Savers are pleased after ten years without any gain.",
        ),
        ("Rate decision", "Inflation 3.1 %"),
    ),
    "court": (
        (
            "The judge read the verdict to a silent room.",
            "The accused was sentenced to four years in prison.",
            "His lawyer said that they would appeal.",
        ),
        ("Case 117", "District court"),
    ),
    "taxes": (
        (
            "You have to file your tax return by the end of May.",
            "Keep the receipts of everything that you bought for work.",
            "The office pays back what you paid too much.",
        ),
        ("Form 1040", "Deadline 31 May"),
    ),
    "shares": (
        (
            "The price of the share fell by nine percent on Monday.",
            "Investors sold because the company earned less than expected.",
            "A fund spreads the risk over hundreds of firms.",
        ),
        ("Stock market", "Index down"),
    ),
    "strike": (
        (
            "The drivers stopped work for better wages.",
            "No bus left the depot during the whole week.",
            "The union and the employers will talk again tomorrow.",
        ),
        ("On strike", "Day 5"),
    ),
    "election": (
        (
            "Citizens voted for a new parliament on Sunday.",
            "The counting of the ballots took all night.",
            "Two parties will now form a government.",
        ),
        ("Election night", "Turnout 71 %"),
    ),
}
"""What is said, sentence by sentence, and what is written, in the first and in the second half; by video."""

OCCURRING = {
    "harvest": "wheat",
    "combine and silo": "wheat",
    "milking cows": "cows",
    "honey frames": "bees",
    "pruning apple trees": "orchard",
    "tractor battery": "tractor",
    "wool yarn": "sheep",
    "kneading dough": "bread",
    "simmering chicken stock": "soup",
    "melted chocolate": "cake",
    "lemon and dill": "fish",
    "interest rates": "bank",
    "galaxies": "telescope",
    "footprints in the dust": "moon",
    "krill": "whale",
    "corals": "reef",
    "Apollo 17": "moon",
    "Form 1040": "taxes",
    "sourdough": "bread",
    "barista lesson": "coffee",
}
"""Queries whose words, or forms of them, are said or written, with the video that is right."""

OTHER_WORDS = {
    "insects that pollinate flowers": "bees",
    "how to fix a broken vehicle engine": "tractor",
    "making dessert": "cake",
    "sharpening kitchen tools": "knife",
    "preparing a hot drink": "coffee",
    "spacecraft taking off": "rocket",
    "exploring another world with a robot": "mars",
    "life of the crew in orbit": "station",
    "observing distant stars": "telescope",
    "cargo being unloaded in a seaport": "harbor",
    "enormous marine mammals": "whale",
    "steering a yacht": "sailing",
    "tower that warns ships at night": "lighthouse",
    "criminal trial": "court",
    "paying money to the state": "taxes",
    "equity prices drop": "shares",
    "employees refuse to work": "strike",
    "democracy and voting": "election",
    "cost of home loans": "bank",
    "the sun is covered in the daytime": "eclipse",
}
"""Queries in other words than those that are said and written."""

PHRASES = {
    '"Chapter 3"': {"wheat"},
    '"Chapter 4"': {"cows"},
    '"Chapter 5"': set(),
    '"oil filter"': {"tractor"},
    '"filter oil"': set(),
    '"interest rate"': {"bank"},
    '"light years away"': {"telescope"},
    '"miles away"': {"lighthouse"},
    '"life jacket"': {"sailing"},
    '"jacket life"': set(),
    '"red planet"': {"mars"},
    '"the end of May"': {"taxes"},
}
"""Phrases, with all videos in which they stand."""

TUNING = {
    "grain storage": "wheat",
    "animals in the stable": "cows",
    "queen and eggs": "bees",
    "fruit pickers": "orchard",
    "diesel": "tractor",
    "shepherd with a flock": "sheep",
    "baking": "bread",
    "browned onions": "soup",
    "pastry with cherries": "cake",
    "seafood recipe": "fish",
    "brewing espresso": "coffee",
    "cutting vegetables": "knife",
    "reusable launcher": "rocket",
    "samples of rock": "mars",
    "why there is ebb and flow": "moon",
    "infrared": "telescope",
    "protect your eyes": "eclipse",
    "weightlessness": "station",
    "cranes": "harbor",
    "sounds of whales": "whale",
    "stormy weather at sea": "sailing",
    "endangered ecosystem": "reef",
    "keeper of the lamp": "lighthouse",
    "walking on the beach": "tide",
    "mortgage": "bank",
    "prison sentence": "court",
    "receipts": "taxes",
    "investment funds": "shares",
    "labor union": "strike",
    "counting ballots": "election",
    "District court": "court",
    "Stock market": "shares",
    "Terminal 2": "harbor",
    "Tide table": "tide",
    "Crew quarters": "station",
    "Onion soup": "soup",
    "Great barrier reef": "reef",
    "shearing": "sheep",
    "Smoke": "bees",
    "Max Q": "rocket",
    "playing the violin": None,
    "ice hockey": None,
    "brain surgery": None,
    "a wedding dress": None,
    "software bugs": None,
    "mountain railway": None,
    "tennis racket": None,
    "kindergarten": None,
    "oil painting": None,
    "earthquake": None,
}
"""Queries from which scores are calibrated; none of the others. None: no video is right."""


def voices(names: Sequence[str]) -> list[Floats]:
    """What is said in some of the videos, by hibari's voice at 16 kHz, with a pause behind each sentence."""
    from hibari import Hibari
    from hibari.tts import SAMPLE_RATE

    voice = Hibari(threads=1)
    pause = np.zeros(round(PAUSE_S * RATE), np.float32)
    found = []
    for name in names:
        sentences = [_resampled(voice(text, seed=0), SAMPLE_RATE) for text in SCRIPTS[name][0]]
        found.append(np.concatenate([pause[: round(BEFORE_S * RATE)], *(x for one in sentences for x in (one, pause))]))
    return found


def make_corpus(folder: Path, names: Sequence[str] = tuple(SCRIPTS)) -> Path:
    """Write some of the videos, `<name>.mp4`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in zip(names, voices(names), strict=True):
        write_slides(folder / f"{name}.mp4", SCRIPTS[name][1], samples, sample_rate=RATE)
    return folder


def _resampled(samples: npt.NDArray[np.float32], rate: int) -> Floats:
    import torch
    import torchaudio

    return np.asarray(torchaudio.functional.resample(torch.from_numpy(np.array(samples)), rate, RATE).numpy())
