"""What the page asks of a process: searches, labels, suggestions and originals, as a Starlette application."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vidray.browse.access import Access
from vidray.browse.originals import original
from vidray.browse.writing import LabelWriter
from vidray.errors import UsageError, VidrayError, one_line
from vidray.labels.heads import CONFIG, open_head, suggest
from vidray.retrieval.search import Searcher
from vidray.store import Store
from vidray.store.layout import duplicates_of
from vidray.store.tables import checked_name

MOST_BYTES = 64 << 20
"""Of an image or a sound that is searched for, and of any other order."""

HITS = 60
SUGGESTIONS = 40

Handler = Callable[[Request], Awaitable[Response]]


def application(store: str, folder: Path, *, token: str | None) -> Starlette:
    """The application that serves the report in a folder, and its store.

    Args:
        store: fsspec URL of the store.
        folder: A report that was written to be served.
        token: That everybody has to know; None on loopback.
    """
    asked = _Asked(Store(store))
    routes = [
        Route("/api/heads", _answering(asked.heads)),
        Route("/api/search", _answering(asked.search), methods=["GET", "POST"]),
        Route("/api/suggest", _answering(asked.suggest)),
        Route("/api/label", _answering(asked.label), methods=["POST"]),
        Route("/api/keep", _answering(asked.keep), methods=["POST"]),
        Route("/api/undo", _answering(asked.undo), methods=["POST"]),
        Route("/media/{clip}", asked.media),
        Mount("/", StaticFiles(directory=folder, html=True)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Access, token=token)])


def _answering(handler: Callable[[Request, bytes], Any]) -> Handler:
    """A handler whose answer is JSON, and whose errors are one line."""

    async def answer(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return JSONResponse({"error": f"at most {MOST_BYTES >> 20} MiB are taken"}, 413)
        try:
            return JSONResponse(await run_in_threadpool(handler, request, bytes(body)))
        except (VidrayError, OSError) as e:
            return JSONResponse({"error": one_line(e)}, 400)

    return answer


class _Asked:
    """The answers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._searcher = Searcher(store)
        self._labels = LabelWriter(store.url)
        read = [store.read("clips", part, ["clip_id", "uri"]) for part in store.parts("clips")]
        self._uris = {row["clip_id"]: row["uri"] for rows in read for row in rows.to_pylist()}
        videos = store.listed.rows()
        opened = videos.filter(pc.equal(videos["status"], "ok"))
        self._opened = frozenset(opened["uri"].to_pylist())

    def heads(self, request: Request, body: bytes) -> Any:
        """The heads that can suggest what to label next."""
        return {"heads": self._store.holding("heads", CONFIG)}

    def search(self, request: Request, body: bytes) -> Any:
        """Clips by a text or a clip, or by an image or a sound that was sent."""
        told = request.query_params
        options: dict[str, Any] = {"k": HITS, "modality": told.get("in") or None}
        if request.method == "GET":
            options |= {kind: told[kind] for kind in ("text", "clip") if told.get(kind)}
            return self._hits(self._searcher.search(**options))
        kind = told.get("kind", "")
        if kind not in ("image", "audio"):
            raise UsageError(f"an image or audio can be sent, got {kind!r}")
        with tempfile.TemporaryDirectory(prefix="vidray-query-") as folder:
            file = Path(folder) / "query"
            file.write_bytes(body)
            return self._hits(self._searcher.search(**(options | {kind: str(file)})))

    def _hits(self, found: Any) -> Any:
        hits = [{"clip": hit.clip_id, "score": hit.score, "text": hit.text} for hit in found.hits]
        return {"hits": hits, "by": found.extractor, "notes": list(found.notes)}

    def suggest(self, request: Request, body: bytes) -> Any:
        """Which clips are worth labeling next, by a head."""
        head = open_head(self._store.url, request.query_params.get("head", ""))
        found = suggest(self._store.url, head, count=SUGGESTIONS)
        return {
            "hits": [{"clip": one.clip_id, "score": one.score, "text": one.label} for one in found],
            "by": head.name,
        }

    def label(self, request: Request, body: bytes) -> Any:
        """Put labels on clips: {"name": NAME, "clips": {ID: [LABEL, ...]}}."""
        order = _order(body)
        clips = order.get("clips")
        if not isinstance(clips, dict) or not clips or not all(_are_labels(labels) for labels in clips.values()):
            raise UsageError('an order is {"name": NAME, "clips": {ID: [LABEL, ...]}}')
        unknown = next((clip for clip in clips if clip not in self._uris), None)
        if unknown is not None:
            raise UsageError(f"no clip {unknown!r} in the store")
        self._labels.put(str(order.get("name", "")), clips)
        return {"labeled": len(clips)}

    def keep(self, request: Request, body: bytes) -> Any:
        """Choose which video of a group of near-duplicates is kept: {"name": NAME, "group": ID, "video": ID}.

        All clips of the video in the group get the label `keep`, those of the others `duplicate`.
        """
        order = _order(body)
        table = duplicates_of(checked_name(str(order.get("name", ""))))
        group = [
            row
            for part in self._store.parts(table)
            for row in self._store.read(table, part, ["group_id", "clip_id", "video_id"]).to_pylist()
            if row["group_id"] == order.get("group") and row["clip_id"] in self._uris
        ]
        if order.get("video") not in {row["video_id"] for row in group}:
            raise UsageError(f"{table} has no such video in a group {order.get('group')!r}")
        clips: dict[str, Sequence[str]] = {
            row["clip_id"]: ["keep" if row["video_id"] == order["video"] else "duplicate"] for row in group
        }
        self._labels.put("duplicates", clips)
        return {"labeled": len(clips)}

    def undo(self, request: Request, body: bytes) -> Any:
        """Take the last labels of a name back."""
        self._labels.undo(str(_order(body).get("name", "")))
        return {}

    async def media(self, request: Request) -> Response:
        """The video that a clip is of."""
        uri = self._uris.get(request.path_params["clip"])
        if uri is None:
            return PlainTextResponse("no such clip\n", 404)
        if uri not in self._opened:
            return PlainTextResponse("not served: its video could not be read\n", 404)
        return await run_in_threadpool(original, request, uri)


def _are_labels(labels: object) -> bool:
    return isinstance(labels, list) and bool(labels) and all(isinstance(one, str) and one.strip() for one in labels)


def _order(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as e:
        raise UsageError(f"not JSON: {e}") from e
    if not isinstance(found, dict):
        raise UsageError("an order is a JSON object")
    return found
