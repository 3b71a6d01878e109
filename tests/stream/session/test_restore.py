"""A session outlives its server: ended politely, killed, with another model, with a store in trouble."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from stream.errors import ConfigError
from tests.support.running_server import Running, running, wait_for

MODEL = "fake?step=0.002"


def control(run: Running, created: dict[str, Any]) -> ClientConnection:
    return connect(run.socket(created), additional_headers=run.headers(created))


def until(socket: ClientConnection, kind: str, seconds: float = 20.0) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message: dict[str, Any] = json.loads(socket.recv(timeout=seconds))
        if message["type"] == kind:
            return message
    raise AssertionError(f"no {kind} within {seconds} s")


def show_chunks(socket: ClientConnection, count: int) -> int:
    """Wait for that many chunks; the index of the last."""
    return [int(until(socket, "chunk")["index"]) for _ in range(count)][-1]


def again(run: Running, created: dict[str, Any]) -> dict[str, Any]:
    """The session in a new server, once it is continued."""
    answer = httpx.Response(503)

    def back() -> bool:
        nonlocal answer
        answer = httpx.get(run.url + created["urls"]["session"], headers=run.headers(created))
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    wait_for(back, 20)
    document: dict[str, Any] = answer.json()
    return document


def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path) -> None:
    with running(MODEL, state_dir=str(tmp_path)) as run:
        created = run.create("a red circle", seed=9)
        with control(run, created) as socket:
            last = show_chunks(socket, 4)
            socket.send(json.dumps({"type": "prompt", "id": "p", "text": "a blue star"}))
            until(socket, "prompt_applied")
            run.stop()  # what SIGTERM does
            goodbye = until(socket, "session")
            assert goodbye["state"] == "recovering"
            assert "restarting" in goodbye["reason"]
    with running(MODEL, state_dir=str(tmp_path)) as run:
        info = again(run, created)
        assert (info["seed"], info["prompt"]) == (9, "a blue star")
        with control(run, created) as socket:
            assert until(socket, "session")["state"] in ("starting", "live")
            made = until(socket, "chunk")
            assert made["index"] > last, "no chunk is made for a second time from the start"
        score = httpx.get(run.url + created["urls"]["score"], headers=run.headers(created)).json()
        assert [entry["prompt"] for entry in score["entries"] if "prompt" in entry] == ["a red circle", "a blue star"]
        assert len(score["checks"]) == score["chunks"] > last
        watcher = {"Authorization": f"Bearer {created['view_token']}"}
        assert httpx.get(run.url + created["urls"]["session"], headers=watcher).json()["role"] == "watch"
        run.delete(created)
    with running(MODEL, state_dir=str(tmp_path)) as run:
        assert httpx.get(run.url + created["urls"]["session"], headers=run.headers(created)).status_code == 404
        kept = httpx.get(run.url + created["urls"]["score"], headers=run.headers(created))
        assert kept.status_code == 200, "the score of a session that is over stays"
        assert httpx.get(run.url + created["urls"]["score"]).status_code == 401


@contextmanager
def process(state: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`farcast serve` over the fake backend, ready; killed afterwards."""
    command = [
        sys.executable, "-m", "farcast", "serve", "--port", str(port), "--state-dir", str(state), "--no-record",
        "--engine", "tests.support.fake_backend:open_model", "--model", MODEL,
    ]  # fmt: skip
    served = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert served.stdout is not None
        url = ""
        for line in served.stdout:
            url = url or "".join(re.findall(r"http://\S+:\d+", line))
            if "ready with" in line:
                break
        else:
            raise AssertionError("the server did not start")
        yield served, url
    finally:
        served.kill()
        served.communicate(timeout=20)


def test_a_server_that_is_killed_loses_no_session(tmp_path: Path) -> None:
    with process(tmp_path) as (served, url):
        created = httpx.post(f"{url}/v1/sessions", json={"prompt": "a red circle", "seed": 3}, timeout=20).json()
        run = Running(url, None, None)  # type: ignore[arg-type]
        with control(run, created) as socket:
            last = show_chunks(socket, 5)
        served.send_signal(signal.SIGKILL)
        served.wait(10)
    with process(tmp_path) as (served, url):
        run = Running(url, None, None)  # type: ignore[arg-type]
        assert again(run, created)["seed"] == 3
        with control(run, created) as socket:
            assert until(socket, "chunk")["index"] >= last - 1
        began = time.monotonic()
        os.kill(served.pid, signal.SIGTERM)
        assert served.stdout is not None
        rest = served.stdout.read()
        assert served.wait(10) == 0, rest
        assert time.monotonic() - began < 8
        assert "Traceback" not in rest


def test_a_session_of_another_model_is_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(MODEL, state_dir=str(tmp_path)) as run:
        created = run.create()
        with control(run, created) as socket:
            show_chunks(socket, 2)
    record = next(tmp_path.glob("sessions/*/session.json"))
    record.write_text(record.read_text().replace('"model":"fake"', '"model":"another"'))
    with running(MODEL, state_dir=str(tmp_path)) as run:
        address = run.url + created["urls"]["session"]
        wait_for(lambda: httpx.get(address, headers=run.headers(created)).status_code == 404, 20)
        assert httpx.get(run.url + created["urls"]["score"], headers=run.headers(created)).status_code == 200
    assert "cannot be continued: it was made by another" in caplog.text


def test_a_full_store_costs_the_session_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with running(MODEL, state_dir=str(tmp_path)) as run:
        writer = run.manager.restored.writer
        monkeypatch.setattr(writer.store, "write", full)
        created = run.create()
        with control(run, created) as socket:
            show_chunks(socket, 3)
        assert not writer.healthy
        monkeypatch.undo()
        wait_for(lambda: writer.healthy, 10)


def test_two_servers_do_not_share_one_folder(tmp_path: Path) -> None:
    other = pytest.raises(ConfigError, match="Another server keeps its sessions")
    with running(MODEL, state_dir=str(tmp_path)), other, running(state_dir=str(tmp_path)):
        pass
    with running(MODEL, state_dir=str(tmp_path)):
        pass
