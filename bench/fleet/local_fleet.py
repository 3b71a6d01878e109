"""A fleet of `farcast up` on this machine, on loopback, over a model that costs next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from stream.errors import EngineFailed

KEY = "operator-of-a-bench-0123456789"
OPERATOR = {"Authorization": f"Bearer {KEY}"}
ENGINE = "bench.transport.pattern_model:open_model"
START_S = 90.0
PYTHON = "from stream.cli.fleet import up; up(args={args!r})"


@dataclass
class LocalFleet:
    """`url`: of the gateway; `state`: the folder that its workers share."""

    url: str
    state: Path
    process: subprocess.Popen[str]

    def overview(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/v1/fleet", headers=OPERATOR, timeout=20).json()
        return found

    def worker(self, worker: str) -> dict[str, Any]:
        """As the directory sees it. Raises StopIteration when it is not there."""
        return next(one for one in self.overview()["workers"] if one["id"] == worker)

    def worker_at(self, url: str) -> dict[str, Any]:
        return next(one for one in self.overview()["workers"] if url.startswith(one["url"]))

    def wait(self, workers: int, seconds: float = START_S) -> None:
        """Until so many are ready. Raises EngineFailed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"{self.url}/readyz", timeout=5)
                if answer.status_code == 200 and answer.json()["workers"] >= workers:
                    return
            time.sleep(0.1)
        raise EngineFailed(f"{workers} workers were not ready within {seconds:g} s.")

    def drain(self, worker: str) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/fleet/workers/{worker}/drain", headers=OPERATOR, timeout=60)


@contextmanager
def fleet(workers: int, engine: str = ENGINE, model: str = "", *, max_sessions: int = 32) -> Iterator[LocalFleet]:
    """A fleet whose workers are ready; ended afterwards. Raises EngineFailed."""
    with tempfile.TemporaryDirectory(prefix="farcast-fleet-", ignore_cleanup_errors=True) as folder:
        options = [f"--engine={engine}", "--no-record", "--no-renders", f"--max-sessions={max_sessions}"]
        options += [f"--model={model}"] if model else []
        args = ["--workers", str(workers), "--port", "0", "--state", folder, *(f"--serve={one}" for one in options)]
        process = subprocess.Popen(
            [sys.executable, "-c", PYTHON.format(args=args)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env={**os.environ, "FARCAST_API_KEY": KEY},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            found = (re.search(r"Farcast fleet: (http://\S+?)/ ", line) for line in process.stdout)
            match = next((one for one in found if one), None)
            if match is None:
                raise EngineFailed("The fleet did not start.")
            running = LocalFleet(match[1], Path(folder), process)
            running.wait(workers)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@dataclass
class Follower:
    """A client that watches one session's chunks, and asks the gateway where it is when its server is gone.

    chunks: (seconds on the monotonic clock, index); moves: how often it went to another
    server; moved_at: when the gateway named that."""

    gateway: str
    created: dict[str, Any]
    chunks: list[tuple[float, int]]
    moves: int = 0
    moved_at: list[float] = field(default_factory=list)
    lost: str = ""

    async def run(self) -> None:
        """Until cancelled, or until the gateway says that there is no such session."""
        headers = {"Authorization": f"Bearer {self.created['token']}"}
        url = self.created["urls"]["control"]
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            while not self.lost:
                with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                    await self._watch(url, headers)
                await asyncio.sleep(0.1)
                with contextlib.suppress(httpx.HTTPError):
                    answer = await http.get(f"{self.gateway}/v1/sessions/{self.created['id']}", headers=headers)
                    if answer.status_code == 200:
                        if answer.json()["urls"]["control"] != url:
                            self.moves += 1
                            self.moved_at.append(time.monotonic())
                        url = answer.json()["urls"]["control"]
                    elif answer.status_code in (401, 404):
                        self.lost = answer.text

    async def _watch(self, url: str, headers: dict[str, str]) -> None:
        async with connect("ws" + url.removeprefix("http"), additional_headers=headers, open_timeout=3) as socket:
            async for message in socket:
                document = json.loads(message)
                if document["type"] == "chunk":
                    self.chunks.append((time.monotonic(), document["index"]))
                elif document["type"] == "session" and document["state"] in ("recovering", "stopped"):
                    return

    def gap(self, since: float) -> float:
        """The longest time without a chunk, seconds, counting from the last one before `since`."""
        before = [at for at, _ in self.chunks if at < since][-1:]
        times = [*before, *(at for at, _ in self.chunks if at >= since)]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))
