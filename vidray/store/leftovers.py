"""What a run that was killed leaves beside the tables, and no later run would come by: it is cleared up by the next.

What it leaves half done is in the intent and in staging, which runs go on with. Knows no Ray.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator

from vidray.errors import StoreError
from vidray.store.layout import KINDS, PROBE_TABLE, SEAL_FILE, seal_file
from vidray.store.lease import OF_LABELS, Lease, is_left_behind
from vidray.store.seals import is_unsettled, mend_seal
from vidray.store.store import Store

PLAN = ("videos", "clips", PROBE_TABLE)
LABEL_KINDS = ("labels", "video_labels")


def clear_leftovers(store: Store) -> None:
    """Settle the seals of parts that were being replaced, remove those of parts of the plan that are gone from all of
    its tables, which is planned anew, and the lease on labels of a process that is dead.

    Asks for a listing of each kind of table, and reads only what was left. To be called by the holder of the store's
    lease; labels that somebody is writing are left alone.
    """
    for table, part in _unsettled(store, "videos", "clips", *(k.name for k in KINDS if k.name not in LABEL_KINDS)):
        mend_seal(store.folder, table, part)
    planned = frozenset[int]().union(*(store.parts(table) for table in PLAN))
    for table, part in _seals(store, *PLAN):
        if part not in planned:
            store.folder.remove(seal_file(table, part))
    labels = list(_unsettled(store, *LABEL_KINDS))
    if labels or is_left_behind(store.folder, of=OF_LABELS):
        with contextlib.suppress(StoreError), Lease(store.folder, say=lambda line: None, of=OF_LABELS):
            for table, part in labels:
                mend_seal(store.folder, table, part)


def _unsettled(store: Store, *kinds: str) -> Iterator[tuple[str, int]]:
    return ((table, part) for (table, part), size_bytes in _seals(store, *kinds).items() if is_unsettled(size_bytes))


def _seals(store: Store, *kinds: str) -> dict[tuple[str, int], int]:
    """The table and part of each seal, with its size."""
    found = {}
    for kind in kinds:
        for path, size_bytes in store.folder.sizes(kind).items():
            table, name = posixpath.split(path)
            match = SEAL_FILE.fullmatch(name)
            if match is not None:
                found[table, int(match[1])] = size_bytes
    return found
