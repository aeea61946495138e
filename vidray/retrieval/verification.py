"""All of a store checked: its tables against the plan and their seals, and its indexes against their tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike

from vidray.errors import IndexFileError, StoreError, one_line
from vidray.index import Index, open_index
from vidray.index.files import current, read_manifest
from vidray.index.following import lags, newer_clips
from vidray.index.manifest import REBUILD, Manifest
from vidray.index.words import WordsInfo, check_words, is_file_of_words, known_words, word_tables
from vidray.retrieval.indexed import indexed
from vidray.storage import Folder
from vidray.store import Store, verification
from vidray.store.layout import PART_FILE, features_of, index_of
from vidray.store.remedies import index_command
from vidray.store.seals import read_seal
from vidray.store.verification import Verification
from vidray.store.verify.findings import Check, Finding
from vidray.wording import counted


def verify(store: str | PathLike[str], *, full: bool = False, beside: Sequence[Check] = ()) -> Verification:
    """Compare every table of a store with its plan, each part with its seal, and each index with its table.

    Args:
        store: fsspec URL of a store.
        full: Read every byte of tables and indexes; see `vidray.store.verification.verify` for what is found without.
        beside: Other checks, as `media_check`.

    Raises:
        UsageError: There is no store.
        StoreError: What the store says of itself cannot be read.
    """
    return verification.verify(store, full=full, beside=(check_indexes, *beside))


def check_indexes(store: Store, full: bool) -> Iterator[Finding]:
    """Each index as it would be opened, and whether it was built from the parts that the table has now."""
    files = store.files("index")
    of_words = set(word_tables(store))
    yield from _check_words(store, sorted(of_words))
    # an index of words may stand alone
    names = {name for name, file in files if name not in of_words or not is_file_of_words(file)}
    for name in sorted(names):
        where, remedy = index_of(name), f"run {index_command(store.url, name)}"
        try:
            features = f"{store.url}/{features_of(name)}"
            index = open_index(f"{store.url}/{where}", verify=full, features=features)
            changed = _changed(store, name, index)
        except StoreError:
            # of its table, which cannot be read: checking that says so
            yield Finding(where=where, what="lags behind its table, which changed", remedy=remedy, counts={"stale": 1})
            continue
        except (IndexFileError, OSError) as e:
            anew = f"run {index_command(store.url, name, '--rebuild')}"
            what = one_line(e).removesuffix(f"; {REBUILD}")
            yield Finding(where=where, what=what, remedy=anew, counts={"damaged": 1})
            continue
        if changed is not None:
            yield Finding(where=where, what=changed, remedy=remedy, counts={"stale": 1})


def _check_words(
    store: Store, tables: Sequence[str], look: Callable[[Store, str], tuple[WordsInfo, bool]] = check_words
) -> Iterator[Finding]:
    """Each index of words as it would be opened, and whether its table has changed since."""
    for table in tables:
        where, remedy = index_of(table), f"run {index_command(store.url, table)}"
        try:
            info, is_stale = look(store, table)
        except (IndexFileError, StoreError, OSError) as e:
            yield Finding(where=where, what=one_line(e), remedy=remedy, counts={"damaged": 1})
            continue
        if is_stale:
            what = f"lags behind its table, which changed since {counted(info.rows, 'passage')} of it were indexed"
            yield Finding(where=where, what=what, remedy=remedy, counts={"stale": 1})


def lagging(store: Store, tables: Sequence[str]) -> Iterator[Finding]:
    """The indexes of some tables that lack what these have by now, as far as manifests and listings tell.

    What is damaged is not told: a search, or `verify`, says so.
    """
    named = set(indexed(store))
    of_words = set(word_tables(store))
    words = _check_words(store, sorted(of_words & set(tables)), known_words)
    yield from (one for one in words if one.counts.get("stale"))
    for table in tables:
        if table not in named or table in of_words:
            continue
        try:
            folder = Folder(f"{store.url}/{index_of(table)}")
            manifest = read_manifest(folder, *current(folder))
            what = _lag(manifest, store.folder_of(features_of(table)))
        except (IndexFileError, StoreError, OSError):
            continue
        if what is not None:
            remedy = f"run {index_command(store.url, table)}"
            yield Finding(where=index_of(table), what=what, remedy=remedy, counts={"stale": 1})


def _changed(store: Store, name: str, index: Index) -> str | None:
    """How an index lags behind its table; None where it does not."""
    what = _lag(index.manifest, index.features)
    if what is not None:
        return what
    for part in index.manifest.parts:
        number = PART_FILE.fullmatch(part.name)
        seal = None if number is None else read_seal(store.folder, features_of(name), int(number[1]))
        if seal is not None and seal.before is None and seal.now.sha256 != part.sha256:
            return f"lags behind its table: it was built from another {part.name}"
    return None


def _lag(manifest: Manifest, features: Folder) -> str | None:
    """What the names and sizes of a table's parts say of that."""
    if not lags(manifest, features):
        return None
    newer = newer_clips(manifest, features)
    return "lags behind its table, " + (f"it lacks {counted(newer, 'newer clip')}" if newer else "which changed")
