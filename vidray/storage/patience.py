"""How long to bear with a storage that fails now and then, and what to say when it does not get better.

Client libraries repeat single requests a few times at most, see `places`; this is the one layer above them. Whatever a
library raises ends up as an OSError of one line that names the URL.
"""

from __future__ import annotations

import itertools
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from vidray.errors import one_line

TRIES = 10
PATIENCE_S = 60.0
"""No further try begins after so long; the last one ends by its own time limits."""
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
LOST_SHARE = 4
"""Where one operation has given up, the next has a quarter of the tries until one succeeds: a million files of a server
that is gone must not wait a minute each."""

_PASSING_STATUS = frozenset({408, 409, 425, 429})
_LASTING_STATUS = frozenset({501, 505})
_PASSING = frozenset(
    {
        "ClientConnectionError", "ClientPayloadError", "ConnectionError", "EOFError", "FlexibleChecksumError",
        "HTTPClientError", "IncompleteReadError", "ResponseParserError", "TimeoutError",
    }
)  # fmt: skip
"""Names of classes, those of aiohttp and botocore among them: neither need be installed."""
_BROKEN_OFF = frozenset({"ClientPayloadError", "IncompleteReadError", "ResponseStreamingError"})
_ANSWERS = {"ClientResponseError": "status", "HttpError": "code"}


class ChangedError(OSError):
    """A file is not the one any more that its reader began with."""


_KINDS = (ChangedError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)

_given_up: Counter[str] = Counter()
"""By endpoint, how many operations have given up since one succeeded."""

T = TypeVar("T")


def persist(url: str, act: Callable[[], T]) -> T:
    """What `act` returns; it is called again, after growing and uneven waits, while its failure may pass.

    Raises:
        ConnectionError, TimeoutError: It did not pass within the limits.
        OSError: It never will; FileNotFoundError and PermissionError among others.
    """
    endpoint = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    began = time.monotonic()
    for tries in itertools.count(1):
        try:
            result = act()
        except Exception as e:
            spent_s = time.monotonic() - began
            if not may_pass(e):
                raise _failure(url, e) from e
            if tries >= max(1, TRIES // LOST_SHARE ** _given_up[endpoint]) or spent_s >= PATIENCE_S:
                _given_up[endpoint] += 1
                kind = TimeoutError if isinstance(e, TimeoutError) else ConnectionError
                raise kind(f"{url}: {_reason(e)} ({tries} tries in {spent_s:.0f} s)") from e
            longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (tries - 1))
            time.sleep(random.uniform(0.5, 1.0) * longest_s)
        else:
            _given_up.pop(endpoint, None)
            return result
    raise AssertionError("unreachable")


def may_pass(error: BaseException) -> bool:
    """Whether trying again may help: a server's trouble or a broken connection, not a refusal."""
    status = status_of(error)
    if status is not None:
        return status in _PASSING_STATUS or (status >= 500 and status not in _LASTING_STATUS)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return False
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
            return False
    return bool(_names(error) & _PASSING)


def _failure(url: str, error: Exception) -> Exception:
    """The error to raise for what does not pass: what is not a storage's own, a bug perhaps, stays as it is."""
    if type(error).__module__ == "builtins" and not isinstance(error, OSError):
        return error
    status = status_of(error)
    kind: type[OSError] = next((kind for kind in _KINDS if isinstance(error, kind)), OSError)
    if status in (401, 403):
        kind = PermissionError
    elif status in (404, 410):
        kind = FileNotFoundError
    elif "Credentials" in type(error).__name__:
        kind = PermissionError
    return kind(f"{url}: {_reason(error)}")


def _reason(error: BaseException) -> str:
    status = status_of(error)
    text = one_line(error)
    if isinstance(error, FileNotFoundError) and " " not in text:
        return "no such file or folder"
    if status is not None:
        detail = str(getattr(error, "message", "") or (error.args[-1] if error.args else ""))
        return f"the storage answers {status} {' '.join(detail.split())}".rstrip()
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.strerror:
        return str(error.strerror).lower()
    if _names(error) & _BROKEN_OFF:
        return "the answer broke off"
    if isinstance(error, TimeoutError) and text in ("TimeoutError", "None"):
        return "no answer in time"
    return text


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, by aiohttp, botocore or gcsfs; None where there was no answer."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            # other errors have a `code` too, that of a message which could not be parsed for one
            found = next((getattr(cause, key) for name, key in _ANSWERS.items() if name in _names(cause)), None)
        if isinstance(found, int) or str(found).isdigit():
            return int(found)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it stands for: botocore keeps them in `kwargs`, aiohttp in `os_error`."""
    seen: list[BaseException] = []
    left: list[object] = [error]
    while left:
        cause = left.pop(0)
        if not isinstance(cause, BaseException) or cause in seen:
            continue
        seen.append(cause)
        yield cause
        kept = getattr(cause, "kwargs", None)
        left += [cause.__cause__, getattr(cause, "os_error", None)]
        left += [kept.get("error")] if isinstance(kept, dict) else []


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}
