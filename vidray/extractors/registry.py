"""From what a user types, or passes, to an extractor."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from vidray.errors import UsageError, VidrayError
from vidray.extractors import inventory
from vidray.extractors.inputs import samplings_of, scope_of
from vidray.extractors.protocol import Extractor
from vidray.extractors.with_steps import STEP_OPTIONS, itself, with_steps
from vidray.media import Columns, Sampling
from vidray.models.batching import Precision, check_fps, check_precision
from vidray.plugins import TABLE_OPTION, built, import_class, known_options, load_entry, parsed_options, split_options
from vidray.storage import is_local, local_path

NEAR_NAMES = 5
BUILT_IN = "vidray.extractors."
SCOPES = ("clip", "video")


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

    Options apply where an extractor has them: frames a second and columns of single frames make no sense for audio,
    say. Weights are not read.

    Args:
        extractor: A name of `vidray models`, with weights from a file as `name@path-or-url`; or `module:Class`, which
            is imported, also from the working directory, and called without arguments but these options. Behind a `?`
            may stand options of its own, as in `faces?min_score=0.8&fps=1`: its fields, percent-encoded, which beat the
            arguments below; and `audio=` and `frames=`, steps that its inputs go through (`vidray.steps`).
        fps: Frames a second of frame extractors.
        keyframes: Whether frame extractors see keyframes alone, at most `fps` a second.
        precision: Of the network.
        per_frame: Whether each frame's time and embedding are kept too.
        min_score: What a detector's boxes must have more of, None for its own default.
        masks: Whether the masks of segmentation networks are kept.

    Raises:
        UsageError: There is no such name, module, class or option, or it is no extractor.
        MissingExtraError: The extractor is an optional extra that is not installed.
    """
    if not isinstance(extractor, str):
        return check(extractor, repr(type(extractor).__name__))
    check_fps(fps)
    check_precision(precision)
    given = {"fps": fps, "keyframes": keyframes, "precision": precision, "per_frame": per_frame, "masks": masks}
    if min_score is not None:
        given["min_score"] = min_score
    found = _found(extractor)
    built = check(_build(found, given), f"'{extractor}'", schema=not found.is_built_in)
    return with_steps(built, found.steps, f"'{extractor}'")


def table_of(extractor: str | Extractor) -> str | None:
    """The name that an extractor's options give its table, as in `faces?name=small_faces`; None without one."""
    return _found(extractor).table if isinstance(extractor, str) else None


def slug(name: str) -> str:
    """A name as a directory of the store: `torchvision/resnet50` is `torchvision-resnet50`.

    Raises:
        UsageError: Nothing of the name can be kept, or it starts as the store's own directories do.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name)
    if not safe or safe[0] in "._":
        raise UsageError(f"an extractor's name must start with a letter or a digit, got '{name}'")
    return safe


def giving(columns: Collection[str]) -> list[str]:
    """What is typed for the plain built-in extractors that give all of some columns, from frames or audio."""
    found = []
    for plain in inventory.names():
        if "/" in plain:
            continue
        # masks are kept where they are asked for
        name = f"{plain}?masks=true" if "masks" in columns else plain
        with contextlib.suppress(VidrayError):
            extractor = resolve(name)
            if samplings_of(extractor) and set(columns) <= set(extractor.schema.names):
                found.append(name)
    return found


def is_built_in(extractor: Extractor) -> bool:
    """Whether an extractor comes with vidray."""
    return type(itself(extractor)).__module__.startswith(BUILT_IN)


def named_fields(extractor: Extractor) -> tuple[str, ...]:
    """The fields of an extractor that its name stands for; of one that does not come with vidray there are none."""
    if not is_built_in(extractor):
        return ()
    found = inventory.find(str(getattr(extractor, "family", extractor.name)))
    return (*(found[1] if found is not None else ()), "weights")


def origin_of(extractor: Extractor) -> str:
    """What `resolve` takes for it: a name, with its weights, or `module:Class`."""
    cls = type(itself(extractor))
    weights = getattr(extractor, "weights", None)
    if is_built_in(extractor):
        name = str(getattr(extractor, "family", extractor.name))
        return f"{name}@{weights}" if weights else name
    installed = next((name for name, entry in inventory.installed().items() if _names(entry, cls)), None)
    return installed or f"{cls.__module__}:{cls.__qualname__}"


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
    wanted: dict[str, type] = {"name": str, "inputs": Mapping, **({"schema": pa.Schema} if schema else {})}
    for attribute, kind in wanted.items():
        if not hasattr(extractor, attribute):
            raise UsageError(f"{what} is not an extractor: it has no `{attribute}` ({kind.__name__})")
        value = getattr(extractor, attribute)
        if not isinstance(value, kind):
            raise UsageError(f"{what} is not an extractor: `{attribute}` must be a {kind.__name__}, got {value!r}")
    _check_inputs(extractor, what)
    reserved = getattr(extractor, "memory_bytes", 1)
    if not (isinstance(reserved, int) and reserved > 0):
        raise UsageError(f"{what} is not an extractor: `memory_bytes` must be a whole number > 0, got {reserved!r}")
    if not callable(getattr(extractor, "load", None)):
        raise UsageError(f"{what} is not an extractor: it has no method `load(device)`")
    slug(extractor.name)
    return extractor  # type: ignore[no-any-return]


def _check_inputs(extractor: Any, what: str) -> None:
    for name, value in extractor.inputs.items():
        if not isinstance(value, Columns | Sampling):
            wanted = "a sampling of vidray.media or Columns"
            raise UsageError(f"{what} is not an extractor: input '{name}' must be {wanted}, got {value!r}")
    if not extractor.inputs:
        raise UsageError(f"{what} is not an extractor: `inputs` must name what it needs, got none")
    if scope_of(extractor) not in SCOPES:
        raise UsageError(f"{what} is not an extractor: `scope` must be clip or video, got {extractor.scope!r}")
    if scope_of(extractor) == "video" and samplings_of(extractor):
        raise UsageError(f"{what} sees whole videos, so its inputs must be tables: a video does not fit into memory")
    if getattr(extractor, "video_schema", None) is not None and scope_of(extractor) != "video":
        raise UsageError(f"{what} has a `video_schema`, which goes with the scope video only")


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a typed name means: a class, what the name stands for, its options, and the steps of its inputs."""

    cls: Any
    text: str
    arguments: Mapping[str, Any]
    options: Mapping[str, Any]
    steps: Mapping[str, str]
    table: str | None
    is_built_in: bool


def _found(text: str) -> _Found:
    head, typed = split_options(text)
    cls, arguments, comes_with = _class_of(head.partition("@")[0])
    fields = known_options(cls, but=(*arguments, "weights") if "@" in head else arguments)
    own = {TABLE_OPTION, *STEP_OPTIONS} - fields.keys()
    unknown = [option for option in typed if option not in fields and option not in own]
    if unknown and "@" in head:
        # the question mark is the URL's
        head, typed, unknown = text, {}, []
    name, at, weights = head.partition("@")
    if unknown:
        raise UsageError(f"'{text}': {name} has no option {unknown[0]}; it has {', '.join(sorted(fields)) or 'none'}")
    if at and not weights:
        raise UsageError(f"'{text}' names no file after the @")
    file = {"weights": local_path(weights) if is_local(weights) else weights} if weights else {}
    table = typed.pop(TABLE_OPTION, None)
    steps = {option: typed.pop(option) for option in STEP_OPTIONS if option in own and option in typed}
    options = parsed_options(typed, fields, f"'{text}'")
    return _Found(cls, text, {**arguments, **file}, options, steps, table, comes_with)


def _class_of(name: str) -> tuple[Any, dict[str, Any], bool]:
    """The class of a name, the arguments that the name stands for, and whether it comes with vidray."""
    if ":" in name:
        return import_class(name), {}, False
    found = inventory.find(name)
    if found is not None:
        return *found, True
    entry = inventory.installed().get(name)
    if entry is not None:
        return load_entry(entry), {}, False
    raise UsageError(f"there is no extractor '{name}'; {_hint(name)}")


def _names(entry: Any, cls: type) -> bool:
    return bool(entry.value == f"{cls.__module__}:{cls.__qualname__}")


def _hint(name: str) -> str:
    by_tail = {full.rpartition("/")[2].lower(): full for full in [*inventory.names(), *inventory.installed()]}
    tail = name.rpartition("/")[2].lower()
    near = [by_tail[tail]] if tail in by_tail else []
    near += get_close_matches(name, by_tail.values(), n=NEAR_NAMES)
    near += [by_tail[key] for key in get_close_matches(tail, by_tail, n=NEAR_NAMES)]
    close = ", ".join(list(dict.fromkeys(near))[:NEAR_NAMES])
    return (f"near: {close}; " if close else "") + "`vidray models` lists all, and module:Class names your own"


def _build(found: _Found, given: Mapping[str, Any]) -> Any:
    cls = found.cls
    fields = {field.name for field in dataclasses.fields(cls) if field.init} if dataclasses.is_dataclass(cls) else set()
    values = {name: value for name, value in given.items() if name in fields}
    return built(cls, found.text, {**values, **found.arguments, **found.options})
