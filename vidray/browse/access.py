"""Who may ask the server, and what every answer says about itself.

On loopback the browser's own rules are what has to be kept up: another page must not reach the server under a name of
its own (DNS rebinding), nor have the browser send it orders. Anywhere else a token is asked for as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "vidray"
READING = frozenset({"GET", "HEAD"})

SAID_OF_ALL: Mapping[str, str] = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What the page itself allows stands in it."""


class Access:
    """Lets through what comes from the page itself, and from who knows the token."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SAID_OF_ALL)
            await send(message)

        await (refusal or self._app)(scope, receive, say)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self._token is None and _hostname(host) not in LOOPBACK:
            return _refused(f"this server answers to localhost, not to {host!r}")
        if request.method not in READING and not _is_own(request.headers, host):
            return _refused("only the page itself may change something")
        if self._token is None or _same(request.cookies.get(COOKIE), self._token):
            return None
        if request.method == "GET" and _same(request.query_params.get("token"), self._token):
            welcome = RedirectResponse("/", 303)
            welcome.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return welcome
        return _refused("open the address with the token that vidray browse printed")


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        # such as an address that nobody closed: [::1
        return None


def _is_own(headers: Headers, host: str) -> bool:
    return headers.get("origin", "") in (f"http://{host}", f"https://{host}")


def _same(given: str | None, token: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), token.encode())


def _refused(why: str) -> Response:
    return PlainTextResponse(why + "\n", 403)
