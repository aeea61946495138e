"""The planned videos as a listing is compared with them: read once; they lie in as many files as there are parts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from vidray.storage import Folder
from vidray.store.layout import LISTED, READS_AT_ONCE, parts_in

PLAN = ("clips", "videos")
"""The tables of the plan: a part is planned once it has clips."""

_Files = dict[str, dict[str, tuple[int, str]]]


class ListedVideos:
    """What tells the planned videos of a store apart, kept until its owner changes them or files are seen to change."""

    def __init__(self, folder: Folder, read: Callable[[str, int, list[str]], pa.Table]) -> None:
        self._folder = folder
        self._read = read
        self._held: tuple[pa.Table, _Files] | None = None

    def rows(self) -> pa.Table:
        """`LISTED` of all parts of `videos`."""
        if self._held is None:
            # seen before they are read: what is written meanwhile is another file
            files = self._files()
            parts = sorted(parts_in(files["clips"], "clips"))
            with ThreadPoolExecutor(READS_AT_ONCE) as pool:
                read = pool.map(lambda part: self._read("videos", part, LISTED.names), parts)
                rows = pa.concat_tables([LISTED.empty_table(), *read], promote_options="permissive")
            self._held = rows, files
        return self._held[0]

    def forget(self) -> None:
        """Read them again when they are next asked for."""
        self._held = None

    def look_again(self) -> None:
        """Forget them if their files have changed, or do not tell: without the lease, another run may plan some."""
        if self._held is None:
            return
        files = self._files()
        tells = all(changed for held in files.values() for _, changed in held.values())
        if not tells or files != self._held[1]:
            self.forget()

    def _files(self) -> _Files:
        return {table: self._folder.seen(table) for table in PLAN}
