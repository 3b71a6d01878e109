"""Starts a program of the lab in a process of its own and looks at it from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from stream.errors import EngineFailed

URL = re.compile(r"http://[^\s]+")
START_S = 120.0


@dataclass(frozen=True)
class Vitals:
    """Of one process. `cpu`: seconds since it began; `memory`: MB resident."""

    cpu: float
    memory: float
    threads: int
    files: int


def vitals(pid: int) -> Vitals:
    """From /proc (Linux)."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    cpu = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
    memory = int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Vitals(cpu, memory, int(stat[17]), len(os.listdir(f"/proc/{pid}/fd")))


@dataclass
class Lab:
    """A server under test. `session` is the one everybody watches."""

    url: str
    process: Process
    http: httpx.AsyncClient
    session: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session['token']}"}

    @property
    def whep(self) -> str:
        return f"{self.url}{self.session['urls']['whep'].lstrip('/')}"

    def vitals(self) -> Vitals:
        return vitals(self.process.pid)

    async def frames(self) -> dict[int, float]:
        """Number of a frame to the wall clock at which it left for the encoder."""
        found = (await self.http.get(f"{self.url}lab/frames/{self.session['id']}")).json()
        return {int(number): at for number, at in found.items()}

    async def state(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"{self.url}lab/state/{self.session['id']}")).json()
        return found

    async def insides(self) -> dict[str, int]:
        found: dict[str, int] = (await self.http.get(f"{self.url}lab/insides")).json()
        return found


@asynccontextmanager
async def program(module: str, *arguments: str, prefix: tuple[str, ...] = ()) -> AsyncIterator[tuple[Process, str]]:
    """Run `python -m module` until it has said that it is ready and where. Ended afterwards. Raises EngineFailed."""
    command = [*prefix, sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=environment)
    try:
        assert process.stdout is not None
        url = ""
        async with asyncio.timeout(START_S):
            while line := (await process.stdout.readline()).decode():
                url = match.group() if (match := URL.search(line)) else url
                if "ready" in line:
                    break
            else:
                raise EngineFailed(f"{module} did not start. Its message is above.")
        yield process, url
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


@asynccontextmanager
async def serving(width: int, height: int, *arguments: str) -> AsyncIterator[Lab]:
    """A server with a test pattern of this size, and a session on it that runs."""
    size = ("--width", str(width), "--height", str(height))
    async with (
        program("bench.transport.server_under_test", *size, *arguments) as (process, url),
        httpx.AsyncClient(timeout=30) as http,
    ):
        request = {"prompt": "a test pattern", "dial": {"steps": 1}}
        answer = await http.post(f"{url}v1/sessions", json=request)
        answer.raise_for_status()
        yield Lab(url, process, http, answer.json())


T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, but SIGTERM (of `timeout`, say) ends it as Ctrl-C does: what was started is ended, too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return asyncio.run(work)
    finally:
        signal.signal(signal.SIGTERM, before)
