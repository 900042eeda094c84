"""A headless Chromium, controlled over WebDriver with the standard library only."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
KEYS = {"Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"} | {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Escape": "\ue00c",
}


class Browser:
    """A browser window."""

    def __init__(self, root: str) -> None:
        self.root = root
        options = {
            "binary": CHROMIUM,
            "args": ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"],
        }
        logs = {"browser": "ALL"}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
        session = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.root = f"{root}/session/{session['sessionId']}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, page: Path) -> None:
        """Open a file and wait until it is drawn."""
        self.ask("POST", "/url", {"url": page.resolve().as_uri()})
        end = time.monotonic() + 30
        while not self.run("return performance.getEntriesByName('drawn').length"):
            if time.monotonic() > end:
                raise TimeoutError(f"{page} was not drawn: {self.log()}")
            time.sleep(0.01)

    def run(self, script: str, *args: object) -> Any:
        return self.ask("POST", "/execute/sync", {"script": script, "args": args})

    def text(self, element: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", element))

    def hover(self, element: str) -> None:
        self._pointer(element, [])

    def click(self, element: str) -> None:
        press = {"type": "pointerDown", "button": 0}
        self._pointer(element, [press, {"type": "pointerUp", "button": 0}])

    def _pointer(self, element: str, further_actions: list[dict[str, object]]) -> None:
        found = self.run("return document.getElementById(arguments[0])", element)
        move = {"type": "pointerMove", "duration": 0, "origin": found, "x": 0, "y": 0}
        actions = [{"type": "pointer", "id": "mouse", "actions": [move, *further_actions]}]
        self.ask("POST", "/actions", {"actions": actions})

    def press(self, *keys: str) -> None:
        values = [KEYS.get(key, key) for key in keys]
        typed = [{"type": way, "value": v} for v in values for way in ("keyDown", "keyUp")]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": typed}]})

    def prefer(self, **features: str) -> None:
        """Set media features, such as prefers_color_scheme="dark"."""
        found = [{"name": n.replace("_", "-"), "value": value} for n, value in features.items()]
        body = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": found}}
        self.ask("POST", "/goog/cdp/execute", body)

    def log(self) -> list[str]:
        """Messages of the console: errors and violations of the content security policy."""
        return [line["message"] for line in self.ask("POST", "/se/log", {"type": "browser"})]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))


@contextmanager
def browser() -> Iterator[Browser]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [str(DRIVER), f"--port={port}", "--log-level=OFF"], stdout=-3, stderr=-3
    )
    try:
        root = f"http://127.0.0.1:{port}"
        _wait(root)
        window = Browser(root)
        try:
            yield window
        finally:
            window.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()


def _wait(root: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{root}/status", timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("chromedriver did not start")
