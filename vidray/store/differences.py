"""How what made a table, or a plan, differs from what is asked for now, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    names = [name for name in {**known, **asked} if known.get(name) != asked.get(name)]
    return ", ".join(f"{name} {_short(known.get(name))}, not {_short(asked.get(name))}" for name in names)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
