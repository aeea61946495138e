"""Vectors of class names, computed once and shipped: a search embeds its own words alone.

`python -m vidray.labels.name_vectors` writes the file anew, from the class names of ImageNet, AudioSet and COCO as the
installed packages have them. A name that is not in the file is embedded when it is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidray.labels.audioset import MAKER_OF
from vidray.labels.imagenet import class_names, kinds
from vidray.models.sentences import DIM, PACKAGE, PACKAGE_VERSION, embed_sentences

FILE = Path(__file__).parent / "data" / "name_vectors.npz"
MADE_BY = f"{PACKAGE}=={PACKAGE_VERSION}"

Floats = npt.NDArray[np.float32]


def vectors_of(names: Sequence[str]) -> Floats:
    """Unit vectors of names as `embed_sentences` has them, to float16's precision where they are shipped: (N, 384)."""
    known = _shipped()
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    fresh = dict(zip(unknown, embed_sentences(unknown), strict=True)) if unknown else {}
    rows = [fresh[name] if name in fresh else known[name] for name in names]
    return np.array(rows, dtype=np.float32).reshape(len(names), DIM)


@cache
def mean_vector() -> Floats:
    """What all shipped names have in common, (384,); 0 where none are."""
    known = list(_shipped().values())
    return np.mean(known, axis=0, dtype=np.float32) if known else np.zeros(DIM, np.float32)


def with_kind(name: str, kind_of: dict[str, str]) -> str:
    """A name with what kind of thing it is, `Chihuahua, dog`, where that is known."""
    return f"{name}, {kind_of[name]}" if name in kind_of else name


@cache
def _shipped() -> dict[str, npt.NDArray[np.float16]]:
    """What the file has; nothing where another model made it."""
    with np.load(FILE, allow_pickle=False) as file:
        if str(file["made_by"]) != MADE_BY:
            return {}
        names = bytes(file["names"]).decode().split("\n")
        return dict(zip(names, file["vectors"], strict=True))


def shipped_names() -> list[str]:
    """What the file is to have: every class name, alone and with its kind."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    from vidray.extractors.audio.yamnet import class_names as sounds

    objects = [name for name in FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"] if name != "N/A"]
    frames, audio = class_names(), sounds()
    fuller = [with_kind(name, kinds()) for name in frames] + [with_kind(name, MAKER_OF) for name in audio]
    return sorted({*frames, *audio, *objects, *fuller})


def write(path: Path) -> None:
    """Compute the file; the same names and model give the same vectors, to rounding."""
    names = shipped_names()
    vectors = embed_sentences(names).astype(np.float16)
    text = np.frombuffer("\n".join(names).encode(), dtype=np.uint8)
    np.savez(path, made_by=np.array(MADE_BY), names=text, vectors=vectors)


if __name__ == "__main__":
    write(FILE)
