"""The commands that help, as a shell takes them: with the store's own place and what is known to have made it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any
from urllib.parse import quote

import pyarrow.compute as pc

from vidray.errors import SpecMismatchError, StoreError, UsageError, VidrayError
from vidray.extractors.protocol import Extractor
from vidray.extractors.registry import resolve, slug
from vidray.extractors.spec import current
from vidray.extractors.with_steps import itself
from vidray.plugins import TABLE_OPTION
from vidray.steps import step_from, text_of
from vidray.store.json_files import read_json
from vidray.store.layout import HUMAN
from vidray.store.store import Store
from vidray.wording import typed

CORPUS = "CORPUS"
"""What stands for a corpus that nobody wrote down."""
PROMPTS_TYPED = 20
"""More are better read from a file."""
SAFE = "/:,=@"
"""What stands in the value of an option as it is: it ends none."""
UNTYPED = object()
"""What no option has."""


def corpora_of(store: Store, *, unreadable: bool = False) -> list[str]:
    """What was planned into a store, as far as its parts can be read; where none can, what runs extracted.

    `unreadable`: what has videos that cannot be read, and nothing else.
    """
    found: dict[str, None] = {}
    for part in store.parts("videos"):
        with contextlib.suppress(StoreError):
            videos = store.read("videos", part, ["corpus", "status"])
            if unreadable:
                videos = videos.filter(pc.equal(videos["status"], "failed"))
            found |= dict.fromkeys(videos["corpus"].unique().to_pylist())
    planned = [corpus for corpus in found if corpus]
    return planned if planned or unreadable else list(dict.fromkeys(_of_runs(store)))


def _of_runs(store: Store) -> Iterator[str]:
    for name in sorted(store.folder.sizes("runs")):
        with contextlib.suppress(StoreError):
            corpus = read_json(store.folder, name).get("corpus")
            if isinstance(corpus, str) and corpus:
                yield corpus


def extract_command(store: Store, tables: Sequence[str], *options: str) -> str:
    """The command that fills tables which there are, by what made them."""
    return to_extract(store, *_asked(store, tables), *options)


def to_extract(store: Store, *options: str) -> str:
    """`extract` with these options, of the store's corpus: whichever of several, all of the store is filled."""
    return typed("extract", (corpora_of(store) or [CORPUS])[0], store.url, *options)


def plan_command(store: Store) -> str:
    """The command that plans anew what was planned, a command a corpus."""
    return " && ".join(typed("plan", corpus, store.url) for corpus in corpora_of(store) or [CORPUS])


def index_command(store: str, table: str, *options: str) -> str:
    """The command that builds the index of a table, or brings it up to date."""
    return typed("index", store, "-x", table, *options)


def label_command(store: Store, name: str) -> str | None:
    """The command that made labels, as their description says; None where it does not."""
    try:
        spec = store.labels_spec(name) or {}
        settings = dict(spec.get("settings") or {})
        kind = str(spec.get("kind"))
        words = _labeler(kind, str(spec.get("features")), settings)
    except (StoreError, TypeError, ValueError):
        return None
    if kind == HUMAN:
        return typed("import", store.url, "LABELS.csv", "--name", name)
    if words is None:
        return None
    for option in ("threshold", "top"):
        words += [f"--{option}", str(settings[option])] if settings.get(option) is not None else []
    return typed("label", store.url, kind, *words, "--name", name)


def _labeler(kind: str, table: str, settings: Mapping[str, Any]) -> list[str] | None:
    """What is typed after the kind of a labeler that comes with vidray."""
    of = ["-x", table]
    if kind == "zero-shot":
        prompts = list(map(str, settings["prompts"]) if settings.get("prompts") else ())
        return [*of, *(["--prompts", *prompts] if 0 < len(prompts) <= PROMPTS_TYPED else ["--prompts-file", "FILE"])]
    if kind == "topics":
        return [*of, "--count", str(len(settings.get("topics") or ("",)))]
    return [] if kind == "head" else of if kind in ("classes", "events") else None


def duplicates_command(store: Store, name: str) -> str:
    """The command that finds duplicates of a name anew, by what they were found by as far as that can be read."""
    options: list[str] = []
    with contextlib.suppress(StoreError):
        spec = store.duplicates_spec(name) or {}
        for option, key in (("-x", "embeddings"), ("--threshold", "threshold")):
            options += [option, str(spec[key])] if spec.get(key) is not None else []
    return typed("duplicates", store.url, *options, "--name", name)


def train_command(store: str, name: str, network: str = "linear", table: str | None = None) -> str:
    """The command that trains a head from people's labels, on a table where it is known."""
    of = [] if table is None else ["-x", table]
    return typed("train", store, "LABELS.csv", *of, "--head", network, "--name", name)


def retry_command(store: str | PathLike[str], tables: Sequence[str]) -> str | None:
    """The command that tries again what failed in some tables, as a shell takes it: one a corpus that has videos which
    cannot be read, since these are tried where they are listed.

    An extractor stands in it with all that made its table and can be typed, NAME where there is no table yet. None
    where nothing is known of a corpus.
    """
    held = Store(store)
    corpora = corpora_of(held)
    if not corpora:
        return None
    # a video that cannot be read lacks in all tables
    asked = _asked(held, tables or held.tables("features")) or ["-x", "NAME"]
    again = corpora_of(held, unreadable=True) or corpora[:1]
    return "; ".join(typed("extract", corpus, store, *asked, "--retry-failed") for corpus in again)


def _asked(store: Store, tables: Sequence[str]) -> list[str]:
    return [word for table in tables for word in ("-x", _typed(store, table))]


def _typed(store: Store, table: str) -> str:
    """What `-x` takes for the extractor of a table: its name, with the settings and steps that are not the usual."""
    try:
        spec = current(store.spec(table) or {})
    except StoreError:
        return table
    origin = str(spec.get("extractor") or table)
    head = origin.partition("@")[0]
    options = _unusual(origin, spec.get("settings") or {}) | _steps(spec)
    is_usual = False
    with contextlib.suppress(UsageError):
        is_usual = slug(str(spec.get("name") or head)) == table
    options |= {} if is_usual else {TABLE_OPTION: table}
    asked = "&".join(f"{name}={quote(text, safe=SAFE)}" for name, text in options.items())
    return f"{origin}?{asked}" if asked else origin


def _unusual(origin: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a name alone does not stand for, of those that can be typed; all of a class that would have to
    be imported, which no store decides."""
    usual: Extractor | None = None
    if ":" not in origin.partition("@")[0]:
        with contextlib.suppress(VidrayError):
            usual = itself(resolve(origin))
    said = {name: _text(value) for name, value in settings.items() if name != TABLE_OPTION}
    return {
        name: text
        for name, text in said.items()
        if text is not None and not (usual is not None and text == _text(getattr(usual, name, UNTYPED)))
    }


def _text(value: Any) -> str | None:
    """A setting as it is typed, None where it cannot be."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(_text(item) or "" for item in value)
    return str(value) if isinstance(value, str | int | float) else None


def _steps(spec: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs go through, by modality."""
    found: dict[str, str] = {}
    for record in (spec.get("inputs") or {}).values():
        modality = record["modality"]
        with contextlib.suppress(SpecMismatchError):
            steps = tuple(step_from(modality, step) for step in record.get("steps") or ())
            found |= {modality: text_of(steps)} if steps else {}
    return found
