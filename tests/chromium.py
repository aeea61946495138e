"""Debian's Chromium without a window, driven over its debugging pipe: what tests of pages need, and no package."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--mute-audio",
)
WAIT_S = 120.0
"""A browser that has not answered by then hangs; on a machine with other work it takes its time."""


class Chromium:
    """A browser with one page. Everything that the page says on its console, or throws, is in `said`."""

    def __init__(self, folder: Path) -> None:
        command = shutil.which("chromium")
        assert command, "the tests of pages need Debian's chromium: .ci/debian installs it"
        # the sandbox takes rights that root in a container lacks
        flags = [*FLAGS, f"--user-data-dir={folder}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        self._answers, self._asks = read_here, write_here

        def connect() -> None:
            # the browser reads from 3 and writes to 4; both ends are moved out of the way of these first
            there = os.dup2(read_there, 100), os.dup2(write_there, 101)
            os.dup2(there[0], 3)
            os.dup2(there[1], 4)

        self.process = subprocess.Popen(
            [command, *flags, "about:blank"], preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)}, start_new_session=True,
        )  # fmt: skip
        os.close(read_there)
        os.close(write_there)
        self._numbers = itertools.count(1)
        self._held = b""
        self._session: str | None = None
        self.said: list[str] = []
        self.requests: list[str] = []
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in pages if target["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._asks, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + WAIT_S
        while True:
            answer = self._next(until)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser is gone"
            self._held += data
        text, self._held = self._held.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.said.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(one.get("value")) for one in told["args"]))
        elif method == "Log.entryAdded":
            self.said.append(f"{told['entry']['text']} {told['entry'].get('url', '')}".strip())
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def run(self, script: str) -> Any:
        """What an expression comes to in the page, promises waited for; the page must have an answer."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def until(self, script: str, what: object = True) -> Any:
        """Wait until an expression comes to a value, any true one by default; returns it."""
        end = time.monotonic() + WAIT_S
        while True:
            found = self.run(script)
            if found == what or (what is True and found):
                return found
            assert time.monotonic() < end, f"{script} is {found!r} after {WAIT_S} s, said: {self.said}"
            time.sleep(0.02)

    def open(self, url: str) -> None:
        """Open a page and wait until it says that it is ready."""
        self.ask("Page.navigate", url=url)
        self.until("document.documentElement?.dataset.ready === ''")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Where an element is in the window: left, top, width, height."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'nearest'}); const b = e.getBoundingClientRect(); "
            "return [b.left, b.top, b.width, b.height]; })()"
        )
        left, top, width, height = found
        return left, top, width, height

    def mouse(self, kind: str, x: float, y: float, *, button: str = "none") -> None:
        """One event of the mouse: moved, pressed or released."""
        buttons = 1 if button == "left" and kind != "mouseReleased" else 0
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=buttons, clickCount=1)

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        x, y = left + width / 2, top + height / 2
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left")
        self.mouse("mouseReleased", x, y, button="left")

    def drag(self, selector: str, first: float, last: float) -> None:
        """Press at a share of an element's width, and let go at another."""
        left, top, width, height = self.box(selector)
        y = top + height / 2
        self.mouse("mouseMoved", left + first * width, y)
        self.mouse("mousePressed", left + first * width, y, button="left")
        self.mouse("mouseMoved", left + (first + last) / 2 * width, y, button="left")
        self.mouse("mouseMoved", left + last * width, y, button="left")
        self.mouse("mouseReleased", left + last * width, y, button="left")

    def key(self, key: str, text: str = "") -> None:
        """Press a key and let it go."""
        code = {"Escape": 27, "Enter": 13}.get(key, 0)
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def window(self, width: int, height: int, *, scale: float = 1.0, mobile: bool = False) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )

    def prefer(self, theme: str) -> None:
        """`dark` or `light`."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, *, kind: str = "png", quality: int | None = None) -> None:
        options = {} if quality is None else {"quality": quality}
        found = self.ask("Page.captureScreenshot", format=kind, **options)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        with contextlib.suppress(AssertionError, OSError):
            self._session = None
            self.ask("Browser.close")
        os.close(self._asks)
        os.close(self._answers)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """A browser whose profile is in a folder, gone at the end of the block."""
    browser = Chromium(folder)
    try:
        yield browser
    finally:
        browser.close()
