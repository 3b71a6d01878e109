"""Commands for an engine that reads nothing take bounded memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np
import pytest

from stream.engine.host.outbox import Outbox
from stream.engine.protocol import (
    Close,
    Command,
    Open,
    PlayoutReport,
    Rewind,
    SetDial,
    SetImage,
    SetPaused,
    SetPrompt,
    Superseded,
)
from stream.governor import Dial

PICTURE = np.zeros((1024, 1024, 3), np.uint8)  # larger than the pipe's buffer


@pytest.fixture
def stuck() -> Iterator[tuple[Outbox, Connection, list[Superseded]]]:
    """An outbox whose writer waits in the pipe."""
    ours, theirs = multiprocessing.Pipe()
    superseded: list[Superseded] = []
    outbox = Outbox(ours, superseded.append)
    outbox.put(SetImage("first", 0, PICTURE))
    end = time.monotonic() + 5.0
    while len(outbox) and time.monotonic() < end:
        time.sleep(0.005)
    yield outbox, theirs, superseded
    outbox.end()
    theirs.close()  # the writer's send fails, and its thread ends
    ours.close()


def every_kind(session: str, serial: int) -> list[Command]:
    return [
        SetPrompt(session, serial, f"{serial}"),
        SetDial(session, serial, Dial()),
        SetImage(session, serial, PICTURE),
        SetPaused(session, bool(serial % 2)),
        Rewind(session, serial, 0),
        PlayoutReport(session, 0, 0, 0.0, 16.0),
    ]


def test_of_each_kind_the_newest_of_a_session_waits(stuck: tuple[Outbox, Connection, list[Superseded]]) -> None:
    outbox, theirs, superseded = stuck
    for serial in range(1, 301):
        for session in ("a", "b"):
            for command in every_kind(session, serial):
                outbox.put(command)
    assert len(outbox) == 12
    assert [event.serial for event in superseded if event.session == "a"] == list(range(1, 300))
    arrived = [theirs.recv() for _ in range(13)]
    assert {command.serial for command in arrived[1:] if hasattr(command, "serial")} == {300}


def test_a_session_that_is_closed_leaves_nothing(stuck: tuple[Outbox, Connection, list[Superseded]]) -> None:
    outbox, _, _ = stuck
    for i in range(200):
        outbox.put(Open(f"new{i}", "red", 0, Dial(), image=PICTURE))
        for command in every_kind(f"new{i}", 1):
            outbox.put(command)
        outbox.put(Close(f"new{i}"))  # the engine never knew of it
    assert len(outbox) == 0
    outbox.put(SetImage("known", 1, PICTURE))
    outbox.put(Close("known"))
    assert len(outbox) == 1
