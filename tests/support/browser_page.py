"""A browser tab on the page, a server for it in a process of its own, and what reads the picture back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

FIRST_FRAME_MS = 60_000  # a busy machine is no failure; the real bound is measured in test_live.py
START_S = 120


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes]


def start(command: list[str], port: int, root: Path, log: Path, ready: str) -> Server:
    """Start a server of our own and wait until `ready` answers."""
    path = os.pathsep.join([str(root), str(root / "client" / "python")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, *command], cwd=root, env=env, stdout=out, stderr=out)
    server = Server(f"http://127.0.0.1:{port}/", process)
    for _ in range(START_S * 5):
        try:
            urllib.request.urlopen(server.url + ready, timeout=5).close()
            return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
            if process.poll() is not None:
                break
    stop(server)
    pytest.fail(f"the server did not come up: {log.read_text(errors='replace')[-2000:]}")


def stop(server: Server) -> None:
    server.process.terminate()
    try:
        server.process.wait(10)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait(10)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Tab:
    """One browser tab in a profile of its own, with what it complained about."""

    page: Page
    context: BrowserContext
    complaints: list[str]

    def open(self, url: str) -> Tab:
        self.page.goto(url)
        return self

    def playing(self) -> Tab:
        self.page.wait_for_selector("body[data-first-frame-ms][data-state=live]", timeout=FIRST_FRAME_MS)
        return self

    def state(self, state: str, timeout: float = 20_000) -> None:
        self.page.wait_for_selector(f"body[data-state={state}]", timeout=timeout)

    def say(self, text: str) -> None:
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def until(self, what: Callable[[], Any], message: str, seconds: float = 25) -> Any:
        """Ask again and again; the page's own policy forbids the evaluated conditions that Playwright would use."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            self.page.wait_for_timeout(100)
        pytest.fail(f"not within {seconds} s: {message}")

    def pixels(self) -> list[list[int]]:
        """The live picture as 16 x 16 colours, read back from the <video>."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            """() => {
                const canvas = Object.assign(document.createElement("canvas"), {width: 16, height: 16});
                const brush = canvas.getContext("2d");
                brush.drawImage(document.getElementById("video"), 0, 0, 16, 16);
                const data = brush.getImageData(0, 0, 16, 16).data;
                return Array.from({length: 256}, (_, i) => [data[4 * i], data[4 * i + 1], data[4 * i + 2]]);
            }"""
        )

    def share(self, wanted: Callable[[int, int, int], bool]) -> float:
        """How much of the picture has such a colour, 0..1."""
        return sum(wanted(*colour) for colour in self.pixels()) / 256


def reddish(r: int, g: int, b: int) -> bool:
    return r > 110 and r > 1.6 * g and r > 1.6 * b


def bluish(r: int, g: int, b: int) -> bool:
    return b > 110 and b > 1.4 * r and b > 1.3 * g
