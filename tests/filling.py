"""The extract job in this process, without Ray: plan, fill level after level, publish."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidray.corpus import list_corpus
from vidray.extractors.protocol import Extractor
from vidray.pipeline.levels import bind, describe_all
from vidray.pipeline.plan_parts import Target, plan_part
from vidray.pipeline.tasks import missing_parts, part_work
from vidray.pipeline.worker import SliceExtractor, decode_task, samplings
from vidray.planning import Planner, parts_of
from vidray.sandbox import Sandbox
from vidray.store import Store
from vidray.store.changes import begin_outdated


def filled(store_path: Path, corpus: Path, extractors: Mapping[str, Extractor], planner: Planner) -> Store:
    """A store of all that some extractors give for a folder of videos."""
    store = Store(str(store_path))
    listing = list_corpus(str(corpus))
    if store.config() is None:
        store.write_config(planner.config)
        for part in parts_of(listing.videos, iter(range(9))):
            plan_part(part, planner, Target(store.url, listing.corpus, {}))
    fill(store, extractors)
    return store


def fill(store: Store, extractors: Mapping[str, Extractor]) -> list[str]:
    """Fill what is missing; returns what was said."""
    said: list[str] = []
    bindings = bind(store, extractors, said.append)
    specs = describe_all(store, bindings)
    for level in bindings.levels():
        for table in level:
            store.check_spec(table, specs[table])
            store.write_spec(table, specs[table])
            if bindings.bound[table]:
                begin_outdated(store, table, bindings.bound[table])
        fill_level(store, {table: bindings.extractors[table] for table in level}, bindings.bound)
    return said


def fill_level(store: Store, extractors: Mapping[str, Extractor], bound: Mapping[str, Any]) -> None:
    staged = {table: store.staging.slices(table) for table in extractors}
    with contextlib.closing(Sandbox()) as sandbox:
        for part, tables in missing_parts(store, list(extractors)).items():
            some = {table: extractors[table] for table in tables}
            work = part_work(store, part, some, staged)
            stager = SliceExtractor(store.url, some, "cpu", bound)
            for decoded in decode_task(work.blocks, samplings(some), sandbox):
                stager.stage(decoded)
            for table, keys in work.expected.items():
                schema = some[table].schema
                store.publish(table, part, keys, schema, getattr(some[table], "video_schema", None))
