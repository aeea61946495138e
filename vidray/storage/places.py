"""URLs and paths: the filesystem that a URL names, how vidray writes files down, how one is opened."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote_to_bytes, urlsplit

import fsspec
import fsspec.config
import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from vidray.errors import MissingExtraError, UsageError
from vidray.storage.remote import Remote

EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http", "gs": "gcs", "gcs": "gcs"}
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
"""The longest silence on a connection."""
S3_ATTEMPTS = 3
"""How often botocore sends one request, so that a listing of a thousand pages need not start again at a fault."""


def place_of(place: str | os.PathLike[str], what: str) -> str:
    """A path or URL as text. Raises TypeError, with what was meant by it, for anything else."""
    if isinstance(place, os.PathLike):
        place = os.fspath(place)
    if not isinstance(place, str):
        raise TypeError(f"{what} must be a path or URL, got {type(place).__name__} {place!r:.80}")
    return place


def filesystem(url: str | os.PathLike[str]) -> tuple[Any, str]:
    """The fsspec filesystem of a URL and the path in it; listings are always fresh, remote ones are borne with."""
    url = place_of(url, "a place")
    if is_local(url):
        return LocalFileSystem(), local_path(url)
    scheme = urlsplit(url).scheme
    try:
        fs, path = _opened(url, use_listings_cache=False, **_options(scheme, url))
    except ImportError as e:
        if scheme in EXTRAS:
            raise MissingExtraError(f"{scheme}:// storage", EXTRAS[scheme]) from e
        raise UsageError(f"{url}: {e}") from e
    except ValueError as e:
        raise UsageError(f"{url}: fsspec knows no storage '{scheme}://'") from e
    if scheme in ("s3", "s3a"):
        # its own repetitions would multiply ours
        fs.retries = 1
    return Remote(fs), path


def _opened(url: str, **options: Any) -> tuple[Any, str]:
    """As fsspec does, but that `::` in a name is no chain of storages, which ends in a URL or a protocol's name."""
    if "::" not in url or "://" in url.rsplit("::", 1)[1]:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url, **options))
    kind = fsspec.get_filesystem_class(urlsplit(url).scheme)
    return kind(**kind._get_kwargs_from_urls(url), **options), kind._strip_protocol(url)


def is_local(url: str) -> bool:
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """The absolute path of a local URL; `file://` URLs may carry percent-encoded bytes that are not UTF-8."""
    if "://" in url:
        return os.fsdecode(unquote_to_bytes(url.split("://", 1)[1]))
    return os.path.abspath(os.path.expanduser(url))


def to_uri(fs: Any, path: str) -> str:
    """How vidray writes a file down: an absolute path, or a URL; always valid UTF-8."""
    if not isinstance(fs, LocalFileSystem):
        return cast(str, fs.unstrip_protocol(path))
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def open_uri(uri: str) -> BinaryIO:
    """A seekable binary file; remote files are read by ranges. Raises OSError."""
    fs, path = filesystem(uri)
    if isinstance(fs, LocalFileSystem):
        return Path(path).open("rb")
    return cast(BinaryIO, fs.open(path))


def is_answering(uri: str) -> bool:
    """Whether the storage of a file says anything about it at all, be it no."""
    fs, path = filesystem(uri)
    try:
        fs.info(path)
    except (ConnectionError, TimeoutError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _options(scheme: str, url: str = "") -> dict[str, Any]:
    """Time limits of the client libraries, which else wait for ever or multiply; what fsspec is configured to stays.

    Proxies of the environment are used, as by S3's client; what is percent-encoded in a URL is sent on as it stands,
    since the signature of a signed one is of these bytes.
    """
    if scheme in ("s3", "s3a"):
        settings = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "total_max_attempts": S3_ATTEMPTS},
        }
        return {"config_kwargs": settings | fsspec.config.conf.get(scheme, {}).get("config_kwargs", {})}
    if scheme in ("http", "https"):
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        configured = fsspec.config.conf.get(scheme, {}).get("client_kwargs", {})
        return {"client_kwargs": {"timeout": limits, "trust_env": True} | configured, "encoded": "%" in url}
    if scheme in ("gs", "gcs"):
        return {"session_kwargs": {"trust_env": True} | fsspec.config.conf.get(scheme, {}).get("session_kwargs", {})}
    return {}


def find(fs: Any, top: str) -> dict[str, dict[str, Any]]:
    """Every file below a folder, by its path, with what the storage says of it.

    Raises OSError where a folder cannot be listed: fsspec's own listing of local folders would leave it out. Linked
    local folders are followed, each once. A file that cannot be asked about is there all the same, as `unasked`: a link
    to itself, a stale handle, an I/O error.
    """
    if not isinstance(fs, LocalFileSystem):
        listed = cast(dict[str, dict[str, Any]], fs.find(top, detail=True))
        # object storages mark folders by empty objects of their names
        return {name: info for name, info in listed.items() if not _is_folder_marker(name, info)}
    if os.path.isfile(top):
        return {top: fs.info(top)}
    found: dict[str, dict[str, Any]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, below, files in os.walk(top, onerror=_raise_unless_gone, followlinks=True):
        with contextlib.suppress(FileNotFoundError):
            place = os.stat(folder)
            if (place.st_dev, place.st_ino) in seen:
                below.clear()
                continue
            seen.add((place.st_dev, place.st_ino))
        for name in files:
            path = os.path.join(folder, name)
            try:
                found[path] = fs.info(path)
                if found[path].get("islink"):
                    os.stat(path)
            except FileNotFoundError:
                found.pop(path, None)  # gone meanwhile, or a link to nothing
            except OSError:
                found[path] = {"name": path, "size": None, "type": "file", "unasked": True}
    return found


def _is_folder_marker(name: str, info: dict[str, Any]) -> bool:
    return info.get("type") == "directory" or (name.endswith("/") and not info.get("size"))


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
