"""What kinds of things ImageNet's classes are, in everyday words: `Chihuahua` is a dog.

Class names alone stand too far from such words: a text model puts `dog` nearer to `cat` than to `Chihuahua`. Class
numbers are those of ILSVRC 2012, whose order follows WordNet for animals and plants.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_KINDS: dict[str, tuple[int | tuple[int, int], ...]] = {
    "fish": ((0, 6), (389, 397)),
    "bird": ((7, 24), (80, 100), (127, 146)),
    "amphibian": ((25, 32),),
    "turtle": ((33, 37),),
    "lizard": ((38, 48),),
    "crocodile": (49, 50),
    "snake": ((52, 68),),
    "spider": ((72, 77),),
    "elephant": (101, 385, 386),
    "marsupial": ((104, 106),),
    "snail": (113, 114),
    "shellfish": ((118, 125),),
    "whale or seal": ((147, 150),),
    "dog": ((151, 268),),
    "wild dog": ((269, 275),),
    "fox": ((277, 280),),
    "cat": ((281, 285),),
    "big cat": ((286, 293),),
    "bear": ((294, 297), 387, 388),
    "insect": ((300, 320),),
    "butterfly": ((321, 326),),
    "rabbit": ((330, 332),),
    "rodent": ((333, 338),),
    "horse": (339, 340),
    "pig": ((341, 343),),
    "cattle": ((345, 347),),
    "sheep or goat": ((348, 350),),
    "antelope": ((351, 353),),
    "monkey or ape": ((365, 384),),
    "airplane": (404, 895),
    "car": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),
    "truck": (555, 569, 675, 717, 734, 864, 867),
    "train": (466, 547, 565, 705, 820, 829),
    "bus": (654, 779, 874),
    "bicycle": (444, 671),
    "motorcycle": (665, 670),
    "boat or ship": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
    "musical instrument": (
        *(401, 402, 420, 432, 486, 513, 541, 546, 558, 566, 577, 579, 593, 594, 642),
        *(683, 684, 687, 699, 776, 875, 881, 889),
    ),
    "vegetable": ((936, 946),),
    "mushroom": (947, (991, 996)),
    "fruit": ((948, 957),),
    "flower": ((984, 986),),
}  # fmt: skip
"""Kind to class numbers, runs as (first, last)."""


@cache
def class_names() -> list[str]:
    """The 1000 names by class number, as torchvision's weights have them; importing it for names takes seconds."""
    return (Path(__file__).parent / "data" / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines()


@cache
def kinds() -> dict[str, str]:
    """Class name to kind, for the classes that have one."""
    names = class_names()
    found = {}
    for kind, runs in _KINDS.items():
        for run in runs:
            first, last = run if isinstance(run, tuple) else (run, run)
            found.update(dict.fromkeys(names[first : last + 1], kind))
    return found
