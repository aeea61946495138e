"""`vidray status`: what there is in a store, what it lacks, and who is writing it."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from typing import Any

from vidray.cli.arguments import add_json, command, print_json, tell
from vidray.wording import counted, lasting


def add(commands: Any) -> None:
    parser = command(commands, "status", run_status, "what there is in a store, what it lacks, who is writing it")
    parser.add_argument("store", metavar="STORE")
    add_json(parser)


def run_status(arguments: argparse.Namespace) -> int:
    from vidray.overview import status
    from vidray.storage import STAGING
    from vidray.store import Store
    from vidray.store.remedies import extract_command

    held, found = Store(arguments.store), status(arguments.store)
    if arguments.json:
        print_json(dataclasses.asdict(found))
        return 0
    unreadable = f" ({found.videos_failed:,} unreadable)" if found.videos_failed else ""
    videos = f"{counted(found.videos, 'video')}{unreadable}, {lasting(found.video_s)}"
    tell(f"{videos}, {counted(found.clips, 'clip')} of {_corpora(found)}")
    for table in found.tables:
        tell(f"features/{table.name}: {', '.join(_told(table))}{_remedies(held, table)}")
    for name, rows in found.labels.items():
        tell(f"labels/{name}: {counted(rows, 'label')}")
    for name, rows in found.duplicates.items():
        tell(f"duplicates/{name}: {counted(rows, 'row')}")
    for name in found.heads:
        tell(f"heads/{name}")
    if found.staged:
        again = extract_command(held, [name for name in held.tables(STAGING) if held.staging.slices(name)])
        told = f"{counted(found.staged, 'slice')} of a run that is going on, or was interrupted"
        tell(f"staged: {told}; to go on run {again}")
    for line in found.held_by:
        tell(f"being written, {line}")
    return 0


def _corpora(found: Any) -> str:
    return ", ".join(found.corpora) or "no corpus"


def _told(table: Any) -> list[str]:
    told = [counted(table.done, "clip")]
    told += [f"{table.failed:,} failed"] if table.failed else []
    told += [f"{table.missing:,} missing"] if table.missing else []
    told += [f"{counted(table.outdated, 'part')} made of older rows"] if table.outdated else []
    if table.changed_at is not None:
        told.append(f"written {_age(table.changed_at)}")
    states = {"none": "no index", "current": "indexed", "behind": "the index lags behind"}
    told.append(states.get(table.index, table.index))
    return told


def _remedies(store: Any, table: Any) -> str:
    """What to do about what a table and its index lack."""
    from vidray.store.remedies import extract_command, index_command

    commands = [extract_command(store, [table.name])] if table.missing or table.outdated else []
    commands += [index_command(store.url, table.name)] if table.index == "behind" else []
    return f"; run {' && '.join(commands)}" if commands else ""


def _age(changed_at: str) -> str:
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(changed_at)
    minutes = int(age.total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes >= 2 * 24 * 60:
        return f"{counted(minutes // (24 * 60), 'day')} ago"
    return f"{counted(minutes // 60, 'hour') if minutes >= 120 else counted(minutes, 'minute')} ago"
