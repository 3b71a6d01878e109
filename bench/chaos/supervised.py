"""A `farcast serve` that can be killed and started again on the same port and state folder, as a supervisor would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.live.server_process import descendants
from stream.errors import EngineFailed

START_S = 120.0  # until a server is ready
STOP_S = 30.0  # until one that got SIGTERM has ended
KEPT_LINES = 400  # of the log, for a look at what went wrong; older ones are dropped


class Supervised:
    """One server process at a time. `tracebacks`: in its log, of all its processes; `exits`: ends nobody asked for."""

    def __init__(self, state: Path, options: Sequence[str]) -> None:
        self.state, self.options = state, tuple(options)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tracebacks = self.exits = 0
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self.exit_codes: list[int] = []  # after SIGTERM
        self.process: Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    @property
    def pid(self) -> int:
        assert self.process is not None, "start() comes first"
        return self.process.pid

    @property
    def engine_pid(self) -> int | None:
        """The engine process; None while there is none. It is the only one that multiprocessing spawns."""
        for pid in descendants(self.pid):
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    async def start(self) -> None:
        """Start it and wait until its model is ready. Raises EngineFailed."""
        command = [
            sys.executable, "-m", "farcast", "serve", "--port", str(self.port), "--state-dir", str(self.state),
            "--log-level", "warning", *self.options,
        ]  # fmt: skip
        self._ending = False
        process = self.process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        self._keep(self._read(process.stderr))
        try:
            async with asyncio.timeout(START_S):
                while line := (await process.stdout.readline()).decode(errors="replace"):
                    if "ready with" in line:
                        self._keep(self._read(process.stdout))
                        self._keep(self._watch(process))
                        return
        except TimeoutError:
            process.kill()
        await asyncio.sleep(0.2)  # the rest of its log
        raise EngineFailed("The server did not start: " + " ".join(list(self.log)[-5:]))

    async def restart(self, number: signal.Signals) -> None:
        """End it by this signal, and start it again."""
        await self.end(number)
        await self.start()

    async def end(self, number: signal.Signals) -> None:
        """Send the signal and wait; what does not end in time is killed. Its engine may not outlive it."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        self._ending = True
        below = [pid for pid in descendants(process.pid) if pid != process.pid]
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        if number == signal.SIGTERM:
            self.exit_codes.append(process.returncode or 0)
        await _gone(below)

    async def close(self) -> None:
        """For good."""
        engine = self.engine_pid if self.process is not None and self.process.returncode is None else None
        if engine is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(engine, signal.SIGCONT)
        await self.end(signal.SIGTERM)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, process: Process) -> None:
        """Start it again when it ended by itself."""
        await process.wait()
        if not self._ending:
            self.exits += 1
            await self.start()

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await _line(stream):
            self.tracebacks += line.startswith("Traceback (most recent call last)")
            self.log.append(line.rstrip())

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _line(stream: asyncio.StreamReader) -> str:
    try:
        return (await stream.readline()).decode(errors="replace")
    except ValueError:  # longer than the buffer, which is dropped
        return "(a line too long to read)\n"


async def _gone(pids: Sequence[int]) -> None:
    """Wait until these processes have ended; after 10 s they are killed."""
    until = time.monotonic() + 10.0
    while left := [pid for pid in pids if _runs(pid)]:
        if time.monotonic() > until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        await asyncio.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def supervised(state: Path, options: Sequence[str]) -> AsyncIterator[Supervised]:
    """A server that is ready; ended afterwards. Raises EngineFailed."""
    server = Supervised(state, options)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
