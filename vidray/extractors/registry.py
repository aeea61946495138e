"""From what a user types, or passes, to an extractor."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import sys
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from vidray.errors import UsageError
from vidray.extractors.protocol import Extractor
from vidray.media import Audio, AudioVisual, FrameRate, FrameWindows
from vidray.models.batching import Precision, check_fps, check_precision
from vidray.storage import is_local, local_path

NEAR_NAMES = 5


def resolve(
    extractor: str | Extractor,
    *,
    fps: float = 2.0,
    keyframes: bool = False,
    precision: Precision = "float32",
    per_frame: bool = False,
    min_score: float | None = None,
    masks: bool = False,
) -> Extractor:
    """The extractor of a name; an extractor passes through as it is.

    Options apply where an extractor has them: frames a second and columns of single frames make no sense for
    audio, say. Weights are not read.

    Args:
        extractor: A name of `vidray models`, with weights from a file as `name@path-or-url`; or `module:Class`, which
            is imported, also from the working directory, and called without arguments but these options.
        fps: Frames a second of frame extractors.
        keyframes: Whether frame extractors see keyframes alone, at most `fps` a second.
        precision: Of the network.
        per_frame: Whether each frame's time and embedding are kept too.
        min_score: What a detector's boxes must have more of, None for its own default.
        masks: Whether the masks of segmentation networks are kept.

    Raises:
        UsageError: There is no such name, module or class, or it is no extractor.
        MissingExtraError: The extractor is an optional extra that is not installed.
    """
    if not isinstance(extractor, str):
        return check(extractor, repr(type(extractor).__name__))
    check_fps(fps)
    check_precision(precision)
    options = {"fps": fps, "keyframes": keyframes, "precision": precision, "per_frame": per_frame, "masks": masks}
    if min_score is not None:
        options["min_score"] = min_score
    name, at, weights = extractor.partition("@")
    if ":" in name:
        cls = import_class(extractor)
        return check(_build(cls, extractor, {}, options), f"'{extractor}'")
    if at and not weights:
        raise UsageError(f"'{extractor}' names no file after the @")
    chosen = {"weights": local_path(weights) if is_local(weights) else weights} if weights else {}
    cls, arguments = _family(name)
    return check(_build(cls, extractor, arguments | chosen, options), f"'{extractor}'", schema=False)


def slug(name: str) -> str:
    """A name as a directory of the store: `torchvision/resnet50` is `torchvision-resnet50`.

    Raises:
        UsageError: Nothing of the name can be kept, or it starts as the store's own directories do.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    if not safe or safe[0] in "._":
        raise UsageError(f"an extractor's name must start with a letter or a digit, got '{name}'")
    return safe


def import_class(dotted: str) -> Any:
    """The class that `module:Class` names; its file may lie in the working directory. Raises UsageError."""
    module_name, _, class_name = dotted.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        found: Any = importlib.import_module(module_name)
        for part in class_name.split("."):
            found = getattr(found, part)
    except ImportError as e:
        raise UsageError(f"'{dotted}' cannot be imported from {here} or the installed packages: {e}") from e
    except (AttributeError, ValueError) as e:
        raise UsageError(f"'{dotted}' must be module:Class: {e}") from e
    finally:
        sys.path.remove(here)
    return found


def check(extractor: Any, what: str, *, schema: bool = True) -> Extractor:
    """The same object, once it is seen to be an extractor.

    Args:
        extractor: An instance.
        what: For the message.
        schema: Whether to ask for the columns too, which may need a weights file.

    Raises:
        UsageError: It is no extractor; the message says what it lacks.
    """
    if isinstance(extractor, type):
        raise UsageError(f"{what} must be an extractor, not a class: pass {extractor.__name__}()")
    kinds: dict[str, tuple[type, ...]] = {"name": (str,), "sampling": (FrameRate, FrameWindows, Audio, AudioVisual)}
    if schema:
        kinds["schema"] = (pa.Schema,)
    for attribute, wanted in kinds.items():
        names = " or ".join(kind.__name__ for kind in wanted)
        if not hasattr(extractor, attribute):
            raise UsageError(f"{what} is not an extractor: it has no `{attribute}` ({names})")
        value = getattr(extractor, attribute)
        if not isinstance(value, wanted):
            raise UsageError(f"{what} is not an extractor: `{attribute}` must be a {names}, got {value!r}")
    reserved = getattr(extractor, "memory_bytes", 1)
    if not (isinstance(reserved, int) and reserved > 0):
        raise UsageError(f"{what} is not an extractor: `memory_bytes` must be a whole number > 0, got {reserved!r}")
    if not callable(getattr(extractor, "load", None)):
        raise UsageError(f"{what} is not an extractor: it has no method `load(device)`")
    slug(extractor.name)
    return extractor  # type: ignore[no-any-return]


def _family(name: str) -> tuple[Any, dict[str, str]]:
    """The class of a built-in name and the arguments that the name stands for."""
    family, _, model = name.partition("/")
    if name == "efficientnet_lite0":
        from vidray.extractors.vision.efficientnet import EfficientNetLite0

        return EfficientNetLite0, {}
    if name == "faces":
        from vidray.extractors.vision.faces import Faces

        return Faces, {}
    if name == "quality":
        from vidray.extractors.quality import Quality

        return Quality, {}
    if name == "yamnet":
        from vidray.extractors.audio.yamnet import Yamnet

        return Yamnet, {}
    if family == "torchvision":
        from vidray.extractors.vision import torchvision

        if model in torchvision.model_names("frame"):
            return torchvision.TorchvisionFrames, {"model": model}
        if model in torchvision.model_names("video"):
            return torchvision.TorchvisionVideo, {"model": model}
        from vidray.extractors.vision import torchvision_detection, torchvision_segmentation

        if model in torchvision_detection.model_names():
            return torchvision_detection.TorchvisionDetector, {"model": model}
        if model in torchvision_segmentation.model_names():
            return torchvision_segmentation.TorchvisionSegmenter, {"model": model}
    if family == "torchaudio":
        from vidray.extractors.audio import torchaudio

        if model in torchaudio.bundle_names():
            return torchaudio.TorchaudioBundle, {"bundle": model}
    if family == "open_clip" and model:
        from vidray.extractors.vision import open_clip

        return open_clip.OpenClip, {"model": open_clip.check_model(model)}
    raise UsageError(f"there is no extractor '{name}'; {_hint(name)}")


def _hint(name: str) -> str:
    from vidray.extractors.catalog import names

    by_tail = {full.rpartition("/")[2].lower(): full for full in names()}
    tail = name.rpartition("/")[2].lower()
    near = [by_tail[tail]] if tail in by_tail else []
    near += get_close_matches(name, by_tail.values(), n=NEAR_NAMES)
    near += [by_tail[key] for key in get_close_matches(tail, by_tail, n=NEAR_NAMES)]
    close = ", ".join(list(dict.fromkeys(near))[:NEAR_NAMES])
    return (f"near: {close}; " if close else "") + "`vidray models` lists all, and module:Class names your own"


def _build(cls: Any, what: str, arguments: dict[str, str], options: dict[str, Any]) -> Any:
    if not callable(cls):
        raise UsageError(f"'{what}' is a {type(cls).__name__}, not a class")
    fields = {field.name for field in dataclasses.fields(cls) if field.init} if dataclasses.is_dataclass(cls) else set()
    try:
        return cls(**arguments, **{name: value for name, value in options.items() if name in fields})
    except TypeError as e:
        raise UsageError(f"'{what}' cannot be built without arguments: {e}") from e
