"""Sessions in the store: whole at every moment, bounded, private, and readable again."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.state.record import StateError, parse
from stream.state.store import StateStore
from tests.support.session_record import RECORD


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(str(tmp_path / "state"))


def test_what_is_written_is_read_again(store: StateStore) -> None:
    store.write(RECORD, b"snapshot three")
    assert store.read("abc-1") == (RECORD, b"snapshot three")
    later = replace(RECORD, chunk=5, snapshot_chunk=5)
    store.write(later, b"snapshot five")
    assert store.read("abc-1") == (later, b"snapshot five")
    assert len(list(Path(store.url).rglob("*.safetensors"))) == 1, "the older snapshot is deleted"
    store.write(replace(later, frame=99), None)
    assert store.read("abc-1") == (replace(later, frame=99), b"snapshot five")
    store.delete("abc-1")
    store.delete("abc-1")
    assert store.read("abc-1") is None


def test_any_fsspec_file_system_will_do() -> None:
    store = StateStore("memory://farcast-test-state")
    store.write(RECORD, b"data")
    assert list(store.records()) == [RECORD]
    assert store.read(RECORD.id) == (RECORD, b"data")
    store.delete(RECORD.id)
    assert store.kept() == []


def test_a_death_between_two_files_leaves_the_former_state(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(RECORD, b"three")

    def die(path: str, data: bytes) -> None:
        if path.endswith("session.json"):
            raise OSError(28, "No space left on device")
        put(path, data)

    put = store._put
    monkeypatch.setattr(store, "_put", die)
    with pytest.raises(OSError, match="No space"):
        store.write(replace(RECORD, chunk=5, snapshot_chunk=5), b"five")
    assert store.read("abc-1") == (RECORD, b"three")


def test_only_the_owner_may_read_tokens(store: StateStore) -> None:
    store.write(RECORD, None)
    assert stat.S_IMODE(os.stat(store.url).st_mode) == 0o700
    for path in Path(store.url).rglob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_oldest_go_when_room_or_time_is_up(tmp_path: Path) -> None:
    store = StateStore(str(tmp_path), max_bytes=2500, max_age=100.0)
    for number in range(4):
        store.write(replace(RECORD, id=f"s{number}", snapshot_chunk=1), b"x" * 500)
        os.utime(tmp_path / "sessions" / f"s{number}" / "session.json", (1000.0 + number, 1000.0 + number))
    assert store.sweep(frozenset({"s0"}), now=1050.0) == ["s1", "s2"], "a live one stays though it is the oldest"
    assert [kept.id for kept in store.kept()] == ["s0", "s3"]
    assert store.sweep(frozenset(), now=1101.5) == ["s0"]


def test_what_cannot_be_read_is_left_out(store: StateStore, caplog: pytest.LogCaptureFixture) -> None:
    store.write(RECORD, b"data")
    store.write(replace(RECORD, id="cut"), b"data")
    (Path(store.url) / "sessions/cut/session.json").write_bytes(b'{"version": 1, "id"')
    store.write(replace(RECORD, id="gone"), b"data")
    next(Path(store.url).glob("sessions/gone/*.safetensors")).unlink()
    assert {record.id for record in store.records()} == {"abc-1", "gone"}
    with pytest.raises(StateError, match="the snapshot after chunk 3 is gone"):
        store.read("gone")
    assert "cut cannot be continued: the record is not JSON" in caplog.text


@pytest.mark.parametrize("name", ["../abc", "a/b", "", ".", "x" * 65])
def test_an_id_is_no_path(store: StateStore, name: str) -> None:
    with pytest.raises(StateError, match="not a session id"):
        store.write(replace(RECORD, id=name), None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"[]", "version None"),
        (b'{"version": 2}', "version 2; this server reads 1"),
        (b'{"version": 1, "id": "x"}', "lacks token"),
    ],
)
def test_a_record_of_another_kind_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(StateError, match=words):
        parse(data)


def test_a_newer_record_with_more_keys_is_read() -> None:
    data = RECORD.to_json().replace(b'"version":1', b'"version":1,"colour":"red"')
    assert parse(data) == RECORD


def test_a_place_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--state-dir"):
        StateStore(str(tmp_path / "file" / "state"))
    with pytest.raises(ConfigError, match="--state-dir"):
        StateStore("no-such-protocol://x")
