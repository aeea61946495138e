"""A remote filesystem that is borne with: every operation is repeated inside limits, files are read by ranges."""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from fsspec.asyn import AsyncFileSystem, sync

from vidray.storage.patience import ChangedError, persist, status_of

BLOCK_BYTES = 256 << 10
RUN_BLOCKS = 16
"""Reading on doubles what is asked for at once, from one block to so many."""
KEPT_BLOCKS = 128
PIECES = 64
"""A server that answers with less than a range may do so this often for one range."""
DOWNLOAD_LIMIT_BYTES = 1 << 30
"""Files of web servers that serve no ranges are copied to this machine, up to this size."""
ANSWER_S = 30.0
SLOWEST_BYTES_PER_S = 128 << 10
"""An answer that trickles in more slowly than this, ANSWER_S aside, is given up."""

_PRECONDITION_FAILED = 412
_NOT_IMPLEMENTED = 501
_REPEATED = frozenset(
    {"find", "glob", "ls", "cat_file", "pipe_file", "rm", "rm_file", "size", "isfile", "isdir", "ukey"}
)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class Remote:
    """A fsspec filesystem whose operations are repeated; those that are not named here are passed on as they are."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
        self._is_http = "http" in protocols
        self._is_s3 = "s3" in protocols

    def __getattr__(self, name: str) -> Any:
        if name == "_fs":  # while it is being unpickled
            raise AttributeError(name)
        found = getattr(self._fs, name)
        if name not in _REPEATED:
            return found
        return lambda path, *args, **kwargs: self._persist(path, lambda: found(path, *args, **kwargs))

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        if self._is_http:
            found = self._persist(path, lambda: self._wait_for(_http_info, self._fs, path))
        else:
            found = self._persist(path, lambda: self._fs.info(path, **kwargs))
        return cast(dict[str, Any], found)

    def exists(self, path: str) -> bool:
        """Whether something is there; unlike fsspec's own, a failure is not taken for a no."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> BinaryIO:
        """A seekable file to read by ranges."""
        if mode != "rb":
            return cast(BinaryIO, self._fs.open(path, mode, **kwargs))
        info = self.info(path)
        url = self._url(path)
        if info["type"] == "directory":
            raise IsADirectoryError(f"{url}: a folder, not a file")
        if self._is_http and not info["partial"]:
            return self._downloaded(path, info)
        file = RangeFile(url, int(info["size"]), lambda start, stop: self._range(path, info, start, stop))
        return cast(BinaryIO, file)

    def put_file(self, local: str, path: str) -> None:
        """Upload as a whole, in one or several parts; nothing is visible before it is complete."""
        size_bytes = os.path.getsize(local)
        if isinstance(self._fs, AsyncFileSystem):
            self._persist(path, lambda: self._wait_for(self._fs._put_file, local, path, size_bytes=size_bytes))
        else:
            self._persist(path, lambda: self._fs.put_file(local, path))

    def swap_file(self, path: str, expected: bytes, data: bytes) -> bool:
        """Write a small file if it still holds what is expected.

        S3 decides it: of many who try at once, one succeeds. Elsewhere the last one to write wins, as on servers that
        know S3 but not its If-Match.
        """
        if self._is_s3:
            return cast(bool, self._persist(path, lambda: self._wait_for(_s3_swap, self._fs, path, expected, data)))
        is_expected = bool(self.cat_file(path) == expected)
        if is_expected:
            self.pipe_file(path, data)
        return is_expected

    def get_file(self, path: str, local: str) -> None:
        with self.open(path) as source, open(local, "wb") as target:
            shutil.copyfileobj(source, target, RUN_BLOCKS * BLOCK_BYTES)

    def _url(self, path: str) -> str:
        return cast(str, self._fs.unstrip_protocol(path))

    def _persist(self, path: str, act: Callable[[], Any]) -> Any:
        return persist(self._url(path), act)

    def _wait_for(self, act: Callable[..., Any], *args: Any, size_bytes: int = 0) -> Any:
        """What a coroutine function returns, in the time that so many bytes may take."""
        return sync(self._fs.loop, act, *args, timeout=ANSWER_S + size_bytes / SLOWEST_BYTES_PER_S)

    def _range(self, path: str, info: dict[str, Any], start: int, stop: int) -> bytes:
        """Some of the bytes from `start` on, one at least and up to `stop`, of the file that `info` was told of."""
        if self._is_http or self._is_s3:
            ask = _http_range if self._is_http else _s3_range
            data, etag, size = self._wait_for(ask, self._fs, path, start, stop, size_bytes=stop - start)
            if (etag and info.get("ETag") and etag != info["ETag"]) or size not in (None, info["size"]):
                raise ChangedError("the file changed while it was read")
        else:
            data = self._fs.cat_file(path, start=start, end=stop)
        if not data:
            raise ConnectionError(f"nothing came for bytes {start} to {stop}")
        return cast(bytes, data[: stop - start])

    def _downloaded(self, path: str, info: dict[str, Any]) -> BinaryIO:
        if (info["size"] or 0) > DOWNLOAD_LIMIT_BYTES:
            raise _too_large(self._url(path))
        file = tempfile.TemporaryFile(prefix="vidray-")  # noqa: SIM115
        download = functools.partial(self._wait_for, size_bytes=DOWNLOAD_LIMIT_BYTES)
        try:
            self._persist(path, lambda: download(_http_download, self._fs, path, file))
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast(BinaryIO, file)


class RangeFile(io.RawIOBase):
    """A file of known size, read in blocks: one after a seek, more and more at once while reading goes on."""

    def __init__(self, url: str, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._url = url
        self._size = size
        self._fetch = fetch
        self._position = 0
        self._blocks: OrderedDict[int, tuple[bytes, int]] = OrderedDict()
        self._failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{self._url}: seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def readall(self) -> bytes:
        return self.read(max(0, self._size - self._position)) or b""

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._position + view.nbytes, self._size)
        filled = 0
        while self._position < stop:
            index, offset = divmod(self._position, BLOCK_BYTES)
            chunk = self._block(index, (stop - 1) // BLOCK_BYTES)[offset : stop - index * BLOCK_BYTES]
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            self._position += len(chunk)
        return filled

    def _block(self, index: int, last: int) -> bytes:
        if index not in self._blocks:
            self._load(index, last)
        self._blocks.move_to_end(index)
        return self._blocks[index][0]

    def _load(self, index: int, last: int) -> None:
        """Fetch a block and those behind it: as far as they are wanted, or twice the run that ends before it."""
        _, before = self._blocks.get(index - 1, (b"", 0))
        run = max(1, min(2 * before, RUN_BLOCKS), min(last - index + 1, KEPT_BLOCKS // 2))
        count = next((ahead for ahead in range(1, run) if index + ahead in self._blocks), run)
        data = self._bytes(index * BLOCK_BYTES, min((index + count) * BLOCK_BYTES, self._size))
        for ahead in range(0, len(data), BLOCK_BYTES):
            self._blocks[index + ahead // BLOCK_BYTES] = data[ahead : ahead + BLOCK_BYTES], run
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)

    def _bytes(self, start: int, stop: int) -> bytes:
        """All bytes of a range; a file that could not be read once is not waited for again."""
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        try:
            while start < stop and len(pieces) < PIECES:
                pieces.append(persist(self._url, functools.partial(self._fetch, start, stop)))
                start += len(pieces[-1])
            if start < stop:
                raise OSError(f"{self._url}: the storage answers with a few bytes at a time")
        except Exception as e:
            self._failure = e
            raise
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _s3_range(fs: Any, path: str, start: int, stop: int) -> tuple[bytes, str | None, int | None]:
    """Bytes of a range, and the ETag and size of the object they are of."""
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}")
    async with answer["Body"] as body:
        size = _size_of_range(answer.get("ContentRange"), start)
        return await body.read(), answer.get("ETag"), size


async def _s3_swap(fs: Any, path: str, expected: bytes, data: bytes) -> bool:
    bucket, key, _ = fs.split_path(path)
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key)
    async with answer["Body"] as body:
        found = await body.read()
    if found == data:
        # written by a try whose answer was lost
        return True
    if found != expected:
        return False
    try:
        await fs._call_s3("put_object", Bucket=bucket, Key=key, Body=data, IfMatch=answer["ETag"])
    except OSError as e:
        status = status_of(e)
        if status == _NOT_IMPLEMENTED:
            await fs._call_s3("put_object", Bucket=bucket, Key=key, Body=data)
        elif status == _PRECONDITION_FAILED:
            return False
        else:
            raise
    return True


async def _http_range(fs: Any, url: str, start: int, stop: int) -> tuple[bytes, str | None, int | None]:
    async with await _http_get(fs, url, f"bytes={start}-{stop - 1}") as answer:
        answer.raise_for_status()
        size = _size_of_range(answer.headers.get("Content-Range"), start)
        return await answer.read(), _strong(answer.headers.get("ETag")), size


async def _http_info(fs: Any, url: str) -> dict[str, Any]:
    """What a web server says of a file, asked for its first byte: that shows size and ranges where HEAD may not."""
    async with await _http_get(fs, url, "bytes=0-0") as answer:
        found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
        size = int(found[2]) if found and found[2] != "*" else None
        if answer.status != 416 or size != 0:
            answer.raise_for_status()
        partial = answer.status in (206, 416) and size is not None
        if not partial and "Content-Encoding" not in answer.headers and answer.status == 200:
            size = answer.content_length
        etag, changed = _strong(answer.headers.get("ETag")), answer.headers.get("Last-Modified")
        return {"name": url, "type": "file", "size": size, "partial": partial, "ETag": etag, "LastModified": changed}


async def _http_download(fs: Any, url: str, file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
    async with await _http_get(fs, url, None) as answer:
        answer.raise_for_status()
        async for chunk in answer.content.iter_chunked(1 << 20):
            file.write(chunk)
            if file.tell() > DOWNLOAD_LIMIT_BYTES:
                raise _too_large(url)


async def _http_get(fs: Any, url: str, ranges: str | None) -> Any:
    session = await fs.set_session()
    headers = {"Accept-Encoding": "identity"} | ({} if ranges is None else {"Range": ranges})
    return await session.get(fs.encode_url(url), headers=headers, **fs.kwargs)


def _size_of_range(header: str | None, start: int) -> int | None:
    """The size of the whole file by a Content-Range; None where it does not say."""
    found = _CONTENT_RANGE.match(header or "")
    if not found or found[1] is None or int(found[1]) != start:
        raise OSError("the storage does not serve byte ranges")
    return None if found[2] == "*" else int(found[2])


def _strong(etag: str | None) -> str | None:
    """A weak ETag may be of other bytes, so it is no proof."""
    return None if etag is None or etag.startswith("W/") else etag


def _too_large(url: str) -> OSError:
    return OSError(f"{url}: the server serves no byte ranges, and this is more than {DOWNLOAD_LIMIT_BYTES:,} bytes")
