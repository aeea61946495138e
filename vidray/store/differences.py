"""How what made a table, or a plan, differs from what is asked for now, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def by_content(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec without where its weights lay: the same weights from another place make the same table."""
    weights = spec.get("weights") or {}
    if not weights.get("sha256"):
        return dict(spec)
    settings = {name: value for name, value in (spec.get("settings") or {}).items() if name != "weights"}
    origin = str(spec.get("extractor")).partition("@")[0]
    return {**spec, "weights": weights["sha256"], "settings": settings, "extractor": origin}


def differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What differs, as far inside as it does: `settings.fps 2.0, not 1.0`."""
    return ", ".join(_differing(known, asked, ""))


def _differing(known: Mapping[str, Any], asked: Mapping[str, Any], within: str) -> Iterator[str]:
    for name in {**known, **asked}:
        held, wanted = known.get(name), asked.get(name)
        if isinstance(held, dict) and isinstance(wanted, dict):
            yield from _differing(held, wanted, f"{within}{name}.")
        elif held != wanted:
            yield f"{within}{name} {_short(held)}, not {_short(wanted)}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
