"""The engine process over the fake backend: hung, killed, crashed, without descriptors, out of memory."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stream.engine.host.process import EngineProcess
from stream.engine.protocol import (
    ChunkMade,
    EngineOptions,
    Event,
    Evicted,
    Open,
    PlayoutReport,
    Refused,
    SessionLost,
    SetPrompt,
)
from stream.errors import EngineFailed
from stream.governor import Dial
from tests.support.timing import slack


class Server:
    """What the server would keep of its engine's callbacks."""

    def __init__(self, **options: Any) -> None:
        settings = {"factory": "tests.support.fake_backend:open_model", "model": "fake?step=0.002", "hang_s": 1.0}
        self.events: list[Event] = []
        self.lost: list[tuple[str, str]] = []
        self.failures: list[EngineFailed] = []
        self.restarts = 0
        self.engine = EngineProcess(
            EngineOptions(**{**settings, **options}),
            on_event=self.events.append,
            on_restart=self._on_restart,
            on_lost=lambda cause, culprit: self.lost.append((cause, culprit)),
            on_failed=self.failures.append,
        )

    def _on_restart(self) -> None:
        self.restarts += 1

    def open(self, session: str = "s", prompt: str = "red") -> None:
        self.engine.send(Open(session, prompt, 0, Dial()))

    def chunks(self, session: str = "s") -> int:
        return sum(isinstance(event, ChunkMade) and event.session == session for event in self.events)

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds * slack()
        while not condition():
            assert time.monotonic() < end, (self.lost, self.failures, self.events[-3:])
            await asyncio.sleep(0.02)

    def signal(self, number: int) -> None:
        assert self.engine.pid is not None
        os.kill(self.engine.pid, number)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Server]:
    server = Server(**options)
    server.engine.start()
    try:
        await server.engine.ready(30.0)
        yield server
    finally:
        await server.engine.close()


async def test_a_stopped_engine_is_noticed_killed_and_replaced() -> None:
    async with serving() as server:
        server.open()
        await server.until(lambda: server.chunks() >= 2)
        server.signal(signal.SIGSTOP)
        await server.until(lambda: server.restarts == 1)
        assert server.lost == [("hung", "")]
        server.events.clear()
        server.open()
        await server.until(lambda: server.chunks() >= 2)


async def test_an_idle_engine_is_watched_too_and_one_that_goes_on_in_time_is_left_alone() -> None:
    async with serving() as server:
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(0.7)
        server.signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
        assert server.lost == []
        assert server.engine.heartbeat_age < 1.0 * slack()
        server.signal(signal.SIGSTOP)
        await server.until(lambda: server.restarts == 1)
        assert server.lost == [("hung", "")]


async def test_kills_from_outside_accuse_no_session_and_five_in_a_minute_end_it() -> None:
    async with serving() as server:
        for kills in range(1, 5):
            server.events.clear()
            server.open()
            await server.until(lambda: server.chunks() >= 1)
            server.signal(signal.SIGKILL)
            await server.until(lambda: server.restarts == kills)  # noqa: B023
        assert server.lost == [("killed", "")] * 4
        server.signal(signal.SIGTERM)  # to the process group: the server ends it in its own way
        server.signal(signal.SIGKILL)
        await server.until(lambda: server.failures)
        assert server.engine.failed.is_set()
        assert not server.engine.alive
        with pytest.raises(EngineFailed):
            await server.engine.ready(1.0)


async def test_a_session_that_crashes_it_three_times_is_named() -> None:
    async with serving() as server:
        for faults in range(1, 4):
            server.open("good")
            server.open("bad", "die at once")
            await server.until(lambda: len(server.lost) == faults and server.restarts == faults)  # noqa: B023
        assert server.lost == [("fault", ""), ("fault", ""), ("fault", "bad")]


async def test_a_restart_without_descriptors_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        start, tries = server.engine.start, []

        def failing() -> None:
            tries.append(time.monotonic())
            if len(tries) <= 2:
                raise OSError(24, "Too many open files")
            start()

        monkeypatch.setattr(server.engine, "start", failing)
        server.signal(signal.SIGKILL)
        await server.until(lambda: server.restarts == 1)
        assert len(tries) == 3
        assert not server.failures


async def test_out_of_memory_gives_up_a_slot_and_not_the_engine() -> None:
    async with serving() as server:
        server.open("a")
        server.open("b")
        await server.until(lambda: server.chunks("a") >= 2 and server.chunks("b") >= 2)
        pid = server.engine.pid
        server.engine.send(SetPrompt("a", 7, "memory"))
        server.engine.send(PlayoutReport("a", 1000, 0, time.monotonic(), 16.0))  # all is shown: there is room
        await server.until(lambda: any(isinstance(event, Evicted) for event in server.events))
        refused = [event for event in server.events if isinstance(event, Refused)]
        assert [(event.session, event.serial, event.code) for event in refused] == [("a", 7, "out_of_memory")]
        server.open("a", "memory")  # and again: now the newest session makes room
        await server.until(lambda: any(isinstance(event, SessionLost) for event in server.events))
        lost = [event for event in server.events if isinstance(event, SessionLost)]
        assert [(event.session, event.code) for event in lost] == [("b", "out_of_memory")]
        server.open("c")
        await server.until(lambda: server.chunks("c") >= 2)
        assert (server.engine.pid, server.lost) == (pid, [])
