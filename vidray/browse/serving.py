"""From a store to a server that runs until it is stopped."""

from __future__ import annotations

import os
import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from vidray.errors import MissingExtraError, UsageError
from vidray.report import write_report


def browse(
    store: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Serve a store's page with search, originals and labelling, until the process is interrupted.

    A report is written to a temporary folder first, and is as the store was then.

    Args:
        store: fsspec URL of a store.
        host: Which address to listen on; all but loopback ask for a token, which is in the URL that is said.
        port: 0 for any that is free.
        say: Called with a line once it listens: its URL.

    Raises:
        MissingExtraError: Starlette and uvicorn are not installed.
        UsageError: There is no store, or the port is taken.
    """
    try:
        import uvicorn

        from vidray.browse.access import LOOPBACK
        from vidray.browse.application import application
    except ImportError as e:
        raise MissingExtraError("vidray browse", "browse") from e
    token = None if host in LOOPBACK else secrets.token_urlsafe(24)
    with listening(host, port) as server, tempfile.TemporaryDirectory(prefix="vidray-browse-") as folder:
        write_report(store, folder, served=True)
        app = application(os.fspath(store), Path(folder), token=token)
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{server.getsockname()[1]}/{f'?token={token}' if token else ''}")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[server])


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UsageError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen()
    except OSError as e:
        server.close()
        raise UsageError(f"{host}:{port} cannot be listened on: {e.strerror or e}; give another --port") from e
    return server
