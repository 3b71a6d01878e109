"""A Ray actor beside one device: starts an ordinary `farcast serve`, watches it, and reports its load."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any

import httpx

from .directory import Report
from .options import FleetOptions

log = logging.getLogger("farcast.fleet")

HEARTBEAT_S = 0.5
ANSWER_S = 2.0  # a server that does not answer within is not reported, and its lease runs out
BACKOFF_S = (0.2, 10.0)  # before it is started again: the first time, and at most
END_S = 15.0  # for a server to end after SIGTERM
READY = re.compile(r"ready with")
ADDRESS = re.compile(r"Farcast: (http://\S+?)/ ")


@dataclass
class Serving:
    """A server that runs. lease: the epoch under which it is registered, 0 before that."""

    process: asyncio.subprocess.Process
    url: str
    lease: int = 0


class Worker:
    """`directory`: handle of the directory's actor. Works on a thread of its own from when it is made, so that it does
    so as well when Ray starts it again."""

    def __init__(self, worker: str, options: FleetOptions, directory: Any) -> None:
        self.id, self.options, self._directory = worker, options, directory
        self._serving: Serving | None = None
        self._drained = False
        self._lease = 0
        self._http: httpx.AsyncClient | None = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True).start()

    def drain(self) -> int:
        """Hand all sessions over, end the server, and start none again. Returns how many sessions it had."""
        return asyncio.run_coroutine_threadsafe(self._drain(), self._loop).result()

    def pid(self) -> int | None:
        """Of the server."""
        return None if self._serving is None else self._serving.process.pid

    async def _run(self) -> None:
        """Start the server, again whenever it ends by itself, until it is drained; then keep the loop."""
        backoff = BACKOFF_S[0]
        while not self._drained:
            try:
                serving = await self._start()
            except OSError as error:
                log.error("worker %s cannot start its server: %s", self.id, error)
                serving = None
            if serving is not None:
                backoff = BACKOFF_S[0] if await self._watch(serving) else backoff
                await self._tell("gone", self.id)
            if not self._drained:
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, BACKOFF_S[1])
        await asyncio.Event().wait()  # for `drain`, which runs on this loop

    async def _drain(self) -> int:
        self._drained = True
        serving = self._serving
        if serving is None:
            return 0
        await self._tell("draining", self.id)
        sessions: dict[str, int] = {}
        with contextlib.suppress(httpx.HTTPError):  # then SIGTERM writes them down
            answer = await self._ask("POST", f"{serving.url}/v1/drain", timeout=END_S)
            sessions = answer.json().get("sessions", {})
        await self._tell("gone", self.id)  # all is written: others may go on with it
        await self._end(serving.process)
        return len(sessions)

    async def _start(self) -> Serving | None:
        """Until it says where it is; None when it ends before that."""
        options = self.options
        command = [
            sys.executable, "-m", "stream.fleet.child", str(os.getpid()), sys.executable, "-m", "farcast", "serve",
            "--host", options.host, "--port", "0", "--state-dir", options.state, "--state-shared", *options.serve,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "FARCAST_API_KEY": options.key},
        )
        assert process.stdout is not None
        async for line in process.stdout:
            if match := ADDRESS.search(line.decode(errors="replace")):
                self._serving = Serving(process, match[1])
                return self._serving
        await process.wait()
        log.error("worker %s: the server ended with status %s before it answered", self.id, process.returncode)
        return None

    async def _watch(self, serving: Serving) -> bool:
        """Until the process ends; whether it ever was ready."""
        assert serving.process.stdout is not None
        reading = asyncio.create_task(_discard(serving.process.stdout))
        ended = asyncio.create_task(serving.process.wait())
        ready = False
        while not ended.done():
            ready = await self._heartbeat(serving) or ready
            await asyncio.wait({ended}, timeout=HEARTBEAT_S)
        reading.cancel()
        self._serving = None
        log.warning("worker %s: its server ended with status %s", self.id, serving.process.returncode)
        return ready

    async def _heartbeat(self, serving: Serving) -> bool:
        """One report; whether the server is ready. Registers where the directory does not know the lease."""
        if self._drained:  # the directory has forgotten it already
            return True
        try:
            answer = await self._ask("GET", f"{serving.url}/v1/load", timeout=ANSWER_S)
            report = Report(**answer.json())
        except (httpx.HTTPError, ValueError, TypeError) as error:
            log.warning("worker %s: its server does not say its load: %r", self.id, error)
            return False
        if not serving.lease:
            await self._register(serving, report)
        if await self._tell("heartbeat", self.id, serving.lease, report) is False:
            await self._register(serving, report)
        return report.ready

    async def _register(self, serving: Serving, report: Report) -> None:
        lease = await self._tell("register", self.id, serving.url, report.model, report.weights, self._lease)
        if lease is not None:
            serving.lease = self._lease = int(lease)

    async def _ask(self, method: str, url: str, timeout: float) -> httpx.Response:
        if self._http is None:
            self._http = httpx.AsyncClient(headers={"Authorization": f"Bearer {self.options.key}"}, trust_env=False)
        answer = await self._http.request(method, url, timeout=timeout)
        answer.raise_for_status()
        return answer

    async def _tell(self, method: str, *args: Any) -> Any:
        """None while the directory does not answer: it is being started again, and the server goes on."""
        try:
            return await asyncio.wait_for(getattr(self._directory, method).remote(*args), ANSWER_S)
        except Exception as error:  # Ray's errors have no common base that is not RayError
            log.warning("worker %s: the directory does not answer: %r", self.id, error)
            return None

    @staticmethod
    async def _end(process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()


async def _discard(stream: asyncio.StreamReader) -> None:
    """Read what the server prints, so that it never waits for a full pipe."""
    while await stream.read(65536):
        pass
