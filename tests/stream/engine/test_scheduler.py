"""What the loop of the engine process reads between two units of work."""

from __future__ import annotations

import multiprocessing
from typing import Any, cast

from stream.engine.heartbeat import Heartbeat
from stream.engine.protocol import Command, Open, PlayoutReport, Rewind, Rewound
from stream.engine.scheduler import COMMANDS, Scheduler
from stream.governor import Dial
from tests.support.fake_backend import FakeModel


class Pipe:
    """Commands come without an end; events are kept."""

    def __init__(self, command: Command) -> None:
        self.command, self.received, self.sent = command, 0, cast(list[Any], [])

    def poll(self, timeout: float) -> bool:
        return True

    def recv(self) -> Command:
        self.received += 1
        return self.command

    def send(self, event: Any) -> None:
        self.sent.append(event)


def scheduler(pipe: Pipe) -> Scheduler:
    heartbeat = Heartbeat(multiprocessing.get_context("spawn"))
    made = Scheduler(cast(Any, pipe), FakeModel(64, {}), heartbeat, max_lead=6.0)
    made.open(Open("s", "red", 0, Dial()))
    return made


def test_a_flood_of_commands_does_not_keep_the_device_idle() -> None:
    pipe = Pipe(PlayoutReport("s", 0, 0, 0.0, 16.0))
    scheduler(pipe).read(0.0)
    assert pipe.received == COMMANDS


def test_of_one_sessions_rewinds_the_last_is_done() -> None:
    pipe = Pipe(PlayoutReport("s", 0, 0, 0.0, 16.0))
    loop = scheduler(pipe)
    serials = iter(range(1, COMMANDS + 1))
    pipe.recv = lambda: Rewind("s", next(serials), 0)  # type: ignore[method-assign]
    loop.read(0.0)
    assert [event.serial for event in pipe.sent if isinstance(event, Rewound)] == [COMMANDS]
