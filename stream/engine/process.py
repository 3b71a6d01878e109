"""The engine process as the server sees it: start it, send it commands, receive its events, restart it when it dies.

Two threads stand between the event loop and the pipe, so that the loop never waits for the device. The way out is
bounded: what a newer value replaces (playout reports, dials, prompts) is dropped there, and a dropped prompt is
reported.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from stream.errors import EngineFailed

from .protocol import (
    ChunkMade,
    Command,
    EngineOptions,
    Event,
    LoadFailed,
    ModelFacts,
    PlayoutReport,
    Ready,
    SetDial,
    SetPrompt,
    Shutdown,
    Superseded,
)
from .scheduler import main

log = logging.getLogger("farcast.engine")

RESTARTS = 5  # within RESTART_WINDOW seconds; more than that and the engine counts as broken
RESTART_WINDOW = 60.0
SESSION_ID_BYTES = 64


class EngineProcess:
    """One engine process. `on_event` hears every event, `on_lost` that the process has died and during whose work,
    `on_restart` that a new one is ready for the sessions."""

    def __init__(
        self,
        options: EngineOptions,
        *,
        on_event: Callable[[Event], None],
        on_restart: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.options = options
        self.on_event = on_event
        self.on_restart = on_restart
        self.on_lost = on_lost
        self.facts: ModelFacts | None = None
        self.failure: EngineFailed | None = None
        self.ready_seconds = 0.0
        self.restarts = 0
        self.alive = False  # whether a process is there that has its model loaded
        self._settled = asyncio.Event()  # ready, or failed for good
        self._deaths: deque[float] = deque(maxlen=RESTARTS)
        self._closing = False
        self._process: BaseProcess | None = None
        self._crash_marker: Any = None
        self._outbox: _Outbox | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Returns at once; `ready` tells when the model is loaded."""
        self._loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        crash_marker = context.Array("c", SESSION_ID_BYTES, lock=False)
        arguments = (theirs, self.options, crash_marker)
        process = context.Process(target=main, args=arguments, name="farcast-engine", daemon=True)
        process.start()
        theirs.close()
        self._process, self._crash_marker = process, crash_marker
        self._outbox = _Outbox(ours, self._superseded)
        threading.Thread(target=self._read, args=(ours, process), name="engine-reader", daemon=True).start()

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
            self._settled.set()
            log.info("model %s is ready on %s after %.1f s", event.facts.name, event.facts.device, event.seconds)
            if restarted:
                self.on_restart()
        elif isinstance(event, LoadFailed):
            self._fail(EngineFailed(event.message, code=event.code))
        else:
            self.on_event(event)

    def _superseded(self, event: Superseded) -> None:
        self.on_event(event)

    def _died(self, code: int | None) -> None:
        self.alive = False
        if self._outbox is not None:
            self._outbox.end()
        if self._closing or self.failure is not None:
            return
        now = time.monotonic()
        self._deaths.append(now)
        log.error("the engine process ended (exit code %s); starting it again", code)
        if len(self._deaths) == RESTARTS and now - self._deaths[0] < RESTART_WINDOW:
            self._fail(EngineFailed("The engine keeps ending by itself. Look at the server's log and restart it."))
            return
        self.restarts += 1
        self.on_lost(self._crash_marker.value.decode())
        self.start()

    def _fail(self, failure: EngineFailed) -> None:
        log.error("%s", failure.message)
        self.failure, self.facts = failure, None
        self._settled.set()
        self.on_lost("")


class _Outbox:
    """Commands on their way to the engine, written by a thread of its own. Bounded: see `_replaces`."""

    def __init__(self, pipe: Connection, on_superseded: Callable[[Superseded], None]) -> None:
        self._pipe = pipe
        self._on_superseded = on_superseded
        self._waiting: deque[Command] = deque()
        self._change = threading.Condition()
        self._ended = False
        threading.Thread(target=self._write, name="engine-writer", daemon=True).start()

    def put(self, command: Command) -> None:
        dropped: Command | None = None
        with self._change:
            if isinstance(command, (PlayoutReport, SetDial, SetPrompt)):
                for i, old in enumerate(self._waiting):
                    if type(old) is type(command) and old.session == command.session:
                        dropped = old
                        del self._waiting[i]
                        break
            self._waiting.append(command)
            self._change.notify()
        if isinstance(dropped, SetPrompt):
            self._on_superseded(Superseded(dropped.session, dropped.serial))

    def end(self) -> None:
        with self._change:
            self._ended = True
            self._change.notify()

    def _write(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._ended:
                    self._change.wait()
                if not self._waiting:
                    break
                command = self._waiting.popleft()
            try:
                self._pipe.send(command)
            except (OSError, ValueError):
                break  # the process is gone; the reader notices too
