"""The engine process as the server sees it: start it, send it commands, receive its events, restart it when it dies.

Two threads stand between the event loop and the pipe (`_read` and `outbox`), so that the loop never waits for the
device. A process that hangs is noticed by its heartbeat, killed, and replaced like one that died.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from stream.engine.entry import main
from stream.engine.heartbeat import Heartbeat
from stream.engine.protocol import ChunkMade, Command, EngineOptions, Event, LoadFailed, ModelFacts, Ready, Shutdown
from stream.errors import EngineFailed

from .crashes import Cause, CrashLog, cause_of
from .outbox import Outbox

log = logging.getLogger("farcast.engine")

WATCH_S = 0.5  # between two looks at the heartbeat
OVERDUE_LOOKS = 3  # in a row, before a process counts as hung
BACKOFF_S = (0.5, 10.0)  # before a restart that follows a failed one; doubled each time
START_TRIES = 20  # to start a process, about three minutes, as while there are no file descriptors


class EngineProcess:
    """One engine process at a time.

    on_event: every event of it. on_lost: it died, why, and the session that makes it crash, if one does ("" for none).
    on_restart: a new one is ready for the sessions. on_failed: it cannot be kept running.
    """

    def __init__(
        self,
        options: EngineOptions,
        *,
        on_event: Callable[[Event], None],
        on_restart: Callable[[], None],
        on_lost: Callable[[Cause, str], None],
        on_failed: Callable[[EngineFailed], None],
    ) -> None:
        self.options = options
        self.on_event, self.on_restart, self.on_lost, self.on_failed = on_event, on_restart, on_lost, on_failed
        self.facts: ModelFacts | None = None
        self.failure: EngineFailed | None = None
        self.failed = asyncio.Event()  # for good; see `failure`
        self.ready_seconds = 0.0
        self.restarts = 0
        self.alive = False  # whether a process is there that has its model loaded
        self._settled = asyncio.Event()  # ready, or failed for good
        self._crashes = CrashLog()
        self._closing = False
        self._hung = self._load_failed = False
        self._process: BaseProcess | None = None
        self._heartbeat: Heartbeat | None = None
        self._outbox: Outbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def heartbeat_age(self) -> float:
        """Seconds since the process began what it is doing; 0 without a process."""
        return 0.0 if self._heartbeat is None else self._heartbeat.read().age

    def start(self) -> None:
        """Returns at once; `ready` tells when the model is loaded. Raises OSError when no process can be started."""
        self._loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        try:
            heartbeat = Heartbeat(context)
            arguments = (theirs, self.options, heartbeat)
            process = context.Process(target=main, args=arguments, name="farcast-engine", daemon=True)
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._process, self._heartbeat, self._hung, self._load_failed = process, heartbeat, False, False
        self._outbox = Outbox(ours, self.on_event)
        threading.Thread(target=self._read, args=(ours, process), name="engine-reader", daemon=True).start()
        self._watch(process, heartbeat, time.monotonic(), 0)

    async def ready(self, timeout: float | None = None) -> ModelFacts:
        """The model's facts once it is warm. Raises EngineFailed when it cannot be, TimeoutError when not in time."""
        await asyncio.wait_for(self._settled.wait(), timeout)
        if self.facts is None:
            raise self.failure or EngineFailed("The engine is not running. Look at the server's log and restart it.")
        return self.facts

    def send(self, command: Command) -> None:
        """Never blocks. Without an engine the command is dropped: `on_restart` opens the sessions anew."""
        if self._outbox is not None and self.alive:
            self._outbox.put(command)

    async def close(self) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._outbox is not None:
            self._outbox.put(Shutdown())
            self._outbox.end()
        process = self._process
        if process is not None:
            await asyncio.to_thread(process.join, 3.0)
            if process.is_alive():  # busy in a long unit of work
                process.kill()
                await asyncio.to_thread(process.join, 3.0)

    # --- reader thread

    def _read(self, pipe: Connection, process: BaseProcess) -> None:
        assert self._loop is not None
        try:
            while True:
                event: Event = pipe.recv()
                if isinstance(event, ChunkMade):  # here, as this thread holds nobody up
                    event = replace(event, crc=zlib.crc32(event.frames.data))
                self._loop.call_soon_threadsafe(self._on_message, event)
        except (EOFError, OSError):
            pass
        except RuntimeError:
            return  # the loop is closed
        finally:
            pipe.close()
        process.join(10.0)
        try:
            self._loop.call_soon_threadsafe(self._died, process.exitcode)
        except RuntimeError:
            return

    # --- event loop

    def _on_message(self, event: Event) -> None:
        if isinstance(event, Ready):
            restarted = self.facts is not None
            self.facts, self.ready_seconds, self.alive = event.facts, event.seconds, True
            self._crashes.ready()
            self._settled.set()
            log.info("model %s is ready on %s after %.1f s", event.facts.name, event.facts.device, event.seconds)
            if restarted:
                self.on_restart()
        elif isinstance(event, LoadFailed):
            if self.facts is None:  # it never was ready: another try would fail likewise
                self._fail(EngineFailed(event.message, code=event.code))
            else:  # the device is not there for a moment, or the disk; the process ends and is started again
                log.error("%s", event.message)
                self._load_failed = True
        else:
            self.on_event(event)

    def _watch(self, process: BaseProcess, heartbeat: Heartbeat, looked: float, overdue: int) -> None:
        """Kill the process when its heartbeat is overdue at several looks in a row. looked: when the last one was."""
        if process is not self._process or self._closing or self.failure is not None or self._loop is None:
            return
        now, beat = time.monotonic(), heartbeat.read()
        stopped = now - looked > 3 * WATCH_S  # this process itself was: the engine may have waited for it
        overdue = overdue + 1 if beat.overdue and not stopped else 0
        if overdue >= OVERDUE_LOOKS:
            log.error("the engine hangs: %r for %.1f s, session %r; killing it", beat.doing, beat.age, beat.session)
            self._hung = True
            process.kill()
            return
        self._timer = self._loop.call_later(WATCH_S, self._watch, process, heartbeat, now, overdue)

    def _died(self, code: int | None) -> None:
        was_ready, self.alive = self.alive, False
        if self._outbox is not None:
            self._outbox.end()
        if self._closing or self.failure is not None:
            return
        cause = cause_of(code, hung=self._hung, load_failed=self._load_failed)
        session = "" if self._heartbeat is None else self._heartbeat.read().session
        culprit = self._crashes.died(time.monotonic(), cause, session, was_ready=was_ready)
        log.error("the engine process ended (%s, exit code %s); starting it again", cause, code)
        if self._crashes.hopeless:
            self._fail(EngineFailed("The engine keeps ending by itself. Look at the server's log and restart it."))
            return
        self.restarts += 1
        self.on_lost(cause, culprit)
        self._restart(0)

    def _restart(self, tries: int) -> None:
        """Start a new process, later when the last ones failed; when none can be started, try again."""
        if self._closing or self._loop is None:
            return
        waits = max(tries, self._crashes.without_ready)
        if tries == 0 and waits:
            self._timer = self._loop.call_later(backoff(waits - 1), self._restart, 1)
            return
        try:
            self.start()
        except OSError as error:
            if tries >= START_TRIES:
                self._fail(EngineFailed(f"The engine cannot be started: {error}. Restart the server."))
                return
            log.error("the engine cannot be started (%s); trying again in %.1f s", error, backoff(tries))
            self._timer = self._loop.call_later(backoff(tries), self._restart, tries + 1)

    def _fail(self, failure: EngineFailed) -> None:
        log.error("%s", failure.message)
        self.failure, self.facts = failure, None
        self._settled.set()
        self.failed.set()
        self.on_failed(failure)


def backoff(tries: int) -> float:
    """Seconds to wait before the next try."""
    least, most = BACKOFF_S
    return float(min(least * 2**tries, most))
