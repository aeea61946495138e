"""An archive that moved: the same files under another prefix, whose rows stay as they are but for where the files lie.

Videos and clips keep their ids, so that labels and heads stay right. A move that is killed is ended by the next run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from urllib.parse import quote

import pyarrow as pa

from vidray.corpus import look_up
from vidray.errors import UsageError
from vidray.media import UNSEEN
from vidray.storage import STAGING, is_local, local_path, place_of
from vidray.store import KINDS, Store
from vidray.store.changes import current_parts, keep_current
from vidray.store.layout import PROBE_TABLE, index_of
from vidray.store.lease import OF_LABELS, Lease
from vidray.wording import counted

LOOKUPS_AT_ONCE = 32

LOOKED_AT = 512
"""So many videos, evenly of all, say that a place has none of them."""


@dataclass(frozen=True, kw_only=True)
class MoveSummary:
    """What `move` did.

    Attributes:
        videos: Whose URIs are new.
        missing: Of these, how many there is no file of at the new place.
        changed: Of these, how many have another size there: not the same files, which `--refresh` takes in anew.
        indexes: That were removed, since they name the old place; `vidray index` makes them again.
    """

    videos: int
    missing: int
    changed: int
    indexes: tuple[str, ...]


def move(
    store: str | PathLike[str],
    old: str | PathLike[str],
    new: str | PathLike[str],
    *,
    unseen: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> MoveSummary:
    """Have a store know its videos under another prefix, with all that was made of them.

    Args:
        store: fsspec URL of a store.
        old: The folder, or prefix of whole steps, under which the videos were.
        new: Where they are now, at the same places below.
        unseen: Move them although none of the files can be seen there from here.
        say: Called with a line where another run holds the store.

    Raises:
        UsageError: There is no store, it has no video under the old prefix, none is under the new one, or both are one.
        StoreError: The store cannot be read, or is being written by another run.
    """
    held = Store(store)
    held.check_planned()
    before, after = _prefix(place_of(old, "old")), _prefix(place_of(new, "new"))
    if before == after:
        raise UsageError(f"{before} is the old place and the new one; give the folder where the videos are now")
    with Lease(held.folder, say=say) as lease, Lease(held.folder, say=say, of=OF_LABELS):
        finish_renaming(held)
        uris = [uri for part in held.parts("clips") for uri in held.read("videos", part, ["uri"])["uri"].to_pylist()]
        if not any(_is_under(uri, before) for uri in uris):
            example = f"; its videos are as {uris[0]}" if uris else ""
            raise UsageError(f"{held.url}: no video of it is under {before}{example}")
        if not unseen:
            _check_seen(held, uris, before, after)
        current = {table: list(parts) for table, parts in current_parts(held)}
        held.intents.write_renaming(before, after, current)
        lease.check()
        indexes = tuple(held.tables("index"))
        finish_renaming(held)
        lease.check()
        return _settle_fingerprints(held, after, indexes)


def _check_seen(store: Store, uris: Sequence[str], old: str, new: str) -> None:
    """Refuse a place that has none of the files, of many videos of some: it is mistyped, or not to be reached."""
    under = [uri for uri in uris if _is_under(uri, old)]
    moved = [_renamed(uri, old, new) for uri in under[:: -(-len(under) // LOOKED_AT)]]
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        for first in range(0, len(moved), LOOKUPS_AT_ONCE):
            if any(found != UNSEEN for _, found in pool.map(look_up, moved[first : first + LOOKUPS_AT_ONCE])):
                return
    some = "" if len(moved) == len(under) else f"{len(moved):,} of "
    raise UsageError(
        f"{store.url}: none of {some}{counted(len(under), 'video')} is at the new place, the first would be {moved[0]}"
        "; nothing was moved, --unseen moves all the same"
    )


def finish_renaming(store: Store) -> None:
    """Go on with a move that was interrupted, if there is one; done twice, it does the same."""
    renaming = store.intents.renaming()
    if renaming is None:
        return
    old, new = renaming
    for name in store.tables("index"):
        store.folder.remove_tree(index_of(name))
    for part in store.parts("clips"):
        for table in store.tables(STAGING):
            store.staging.forget_slices(part, table)
    for table in _tables(store):
        for part in store.parts(table):
            rows = store.read(table, part)
            moved = _moved(rows, old, new)
            if not moved.equals(rows):
                store.write(table, part, moved, rows.schema)
    keep_current(store)
    store.intents.clear()


def _tables(store: Store) -> Iterator[str]:
    for kind in KINDS:
        yield from (f"{kind.name}/{name}" for name in store.tables(kind.name))
    yield from ("clips", PROBE_TABLE, "videos")


def _moved(rows: pa.Table, old: str, new: str) -> pa.Table:
    for name in ("uri", "corpus", "of_uri"):
        if name in rows.column_names:
            held = rows[name].combine_chunks().dictionary_encode()
            values = [None if value is None else _renamed(value, old, new) for value in held.dictionary.to_pylist()]
            column = pa.array(values, rows.schema.field(name).type).take(held.indices)
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), column)
    return rows


def _settle_fingerprints(store: Store, new: str, indexes: tuple[str, ...]) -> MoveSummary:
    """Take the new files' own fingerprints where these are the same files, by their size."""
    videos = missing = changed = 0
    for part in store.parts("clips"):
        rows = store.read("videos", part)
        plain = rows.select(["uri", "size_bytes", "fingerprint"]).to_pylist()
        places = [place for place, row in enumerate(plain) if _is_under(row["uri"], new)]
        with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
            found = list(pool.map(look_up, [plain[place]["uri"] for place in places]))
        fingerprints = [row["fingerprint"] for row in plain]
        for place, (size_bytes, fingerprint) in zip(places, found, strict=True):
            known = plain[place]["size_bytes"]
            missing += fingerprint == UNSEEN
            is_other = fingerprint != UNSEEN and known is not None and size_bytes != known
            changed += is_other
            if fingerprint != UNSEEN and not is_other:
                fingerprints[place] = fingerprint
        videos += len(places)
        column = pa.array(fingerprints, pa.string())
        if column.to_pylist() != [row["fingerprint"] for row in plain]:
            place = rows.column_names.index("fingerprint")
            store.write("videos", part, rows.set_column(place, "fingerprint", column), rows.schema)
    return MoveSummary(videos=videos, missing=missing, changed=changed, indexes=indexes)


def _prefix(place: str) -> str:
    return local_path(place) if is_local(place) else place.rstrip("/")


def _is_under(uri: str, prefix: str) -> bool:
    return uri == prefix or uri.startswith((prefix.rstrip("/") + "/", _quoted(prefix) + "/"))


def _renamed(uri: str, old: str, new: str) -> str:
    """The URI below the new prefix; a name that is no UTF-8 stands in a `file://` URL."""
    if uri == old or uri.startswith(old.rstrip("/") + "/"):
        return new + uri[len(old.rstrip("/")) :]
    if uri.startswith(_quoted(old) + "/"):
        return (_quoted(new) if is_local(new) else new) + uri[len(_quoted(old)) :]
    return uri


def _quoted(prefix: str) -> str:
    return "file://" + quote(os.fsencode(prefix.rstrip("/"))) if is_local(prefix) else prefix
