"""The writer: never blocks, keeps the newest, goes on after trouble, and says when it is in trouble."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from stream.state.record import SessionRecord
from stream.state.store import StateStore
from stream.state.writer import StateWriter
from tests.support.session_record import RECORD


def make(record: SessionRecord, snapshot: bytes | None = b"data"):  # type: ignore[no-untyped-def]
    return lambda: (record, snapshot)


def test_the_newest_state_of_each_session_wins(tmp_path: Path) -> None:
    writer = StateWriter(StateStore(str(tmp_path)))
    hold = threading.Event()

    def slow() -> tuple[SessionRecord, bytes | None]:
        hold.wait(10)
        return replace(RECORD, id="first"), None

    writer.put("first", slow)
    for chunk in range(20):
        writer.put("abc-1", make(replace(RECORD, chunk=chunk)))
    hold.set()
    writer.flush().result(10)
    found = writer.store.read("abc-1")
    assert found is not None
    assert found[0].chunk == 19
    assert writer.replaced >= 18, "what waited was replaced, not queued"
    writer.delete("abc-1")
    writer.close()
    assert writer.store.read("abc-1") is None


def test_trouble_is_said_once_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = StateWriter(StateStore(str(tmp_path)))
    write = writer.store.write

    def full(record: SessionRecord, snapshot: bytes | None) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.store, "write", full)
    for _ in range(3):
        writer.put("abc-1", make(RECORD))
        writer.flush().result(10)
    assert not writer.healthy
    assert caplog.text.count("cannot be kept") == 1
    monkeypatch.setattr(writer.store, "write", write)
    writer.put("abc-1", make(RECORD))
    writer.close()
    assert writer.healthy


def test_large_states_are_written_less_often(tmp_path: Path) -> None:
    now = [0.0]
    writer = StateWriter(StateStore(str(tmp_path)), clock=lambda: now[0])
    assert writer.due("abc-1")
    writer.put("abc-1", make(RECORD, b"x" * 32_000_000))
    writer.flush().result(10)
    now[0] = 1.9
    assert not writer.due("abc-1")
    now[0] = 2.1
    assert writer.due("abc-1")
    writer.close()
