"""The recording as a user gets it: over HTTP, while the session runs and after, and from what a crash left behind."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stream.config import ServerConfig
from stream.errors import ConfigError
from stream.metrics import Metrics
from stream.recording import Recordings
from tests.support.film import STEP, film
from tests.support.running_server import FAKE, Running, running, wait_for


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("films")
    with running(record_dir=str(folder), record_keep=2.0, tombstone=0.5) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 60)
        yield run


def get(server: Running, url: str, token: str | None, **headers: str) -> httpx.Response:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.get(server.url + url, headers=headers, timeout=20)


@pytest.mark.slow
def test_downloaded_while_it_runs_and_after(recorded: Running) -> None:
    made = recorded.create()
    url = made["urls"]["recording"]
    session = recorded.manager.sessions[made["id"]]
    wait_for(lambda: session.playout.consumed > 24, 30, what="frames are shown")
    growing = get(recorded, url, made["token"])
    assert growing.status_code == 200
    assert growing.headers["content-type"] == "video/mp4"
    assert growing.headers["farcast-recording"] == "growing"
    some = film(growing.content)
    assert some == [i * STEP for i in range(len(some))]
    assert len(some) >= 14

    recorded.delete(made)
    done = get(recorded, url, made["view_token"])
    assert done.headers["farcast-recording"] == "complete"
    assert film(done.content) == [i * STEP for i in range(session.frame + 1)]
    assert session.broadcast.codecs == []

    path = session.recording.path
    assert path.exists()
    wait_for(lambda: get(recorded, url, made["token"]).status_code == 404, what="it is deleted")
    wait_for(lambda: not path.exists())


def test_ranges_and_head(recorded: Running) -> None:
    made = recorded.create()
    session = recorded.manager.sessions[made["id"]]
    wait_for(lambda: session.recording.size > 1000)
    recorded.delete(made)
    url, token = made["urls"]["recording"], made["token"]
    whole = get(recorded, url, token).content
    part = get(recorded, url, token, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert get(recorded, url, token, Range="bytes=-7").content == whole[-7:]
    assert get(recorded, url, token, Range="bytes=5-").content == whole[5:]
    assert get(recorded, url, token, Range="bytes=0-1,4-5").content == whole
    assert get(recorded, url, token, Range="lines=1-2").content == whole
    beyond = get(recorded, url, token, Range=f"bytes={len(whole)}-")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "bad_range")
    head = httpx.head(f"{recorded.url}{url}", headers={"Authorization": f"Bearer {token}"}, timeout=20)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(whole)), b"")


def test_only_who_may_watch_may_have_it(recorded: Running) -> None:
    made = recorded.create()
    url = made["urls"]["recording"]
    assert get(recorded, url, None).status_code == 401
    assert get(recorded, url, "wrong").status_code == 401
    assert get(recorded, "/v1/sessions/none/recording.mp4", made["token"]).json()["code"] == "no_recording"
    recorded.delete(made)


@pytest.mark.slow
def test_pauses_and_prompts_are_in_it(recorded: Running) -> None:
    made = recorded.create()
    session = recorded.manager.sessions[made["id"]]
    wait_for(lambda: session.playout.consumed > 12)
    recorded.loop.call_soon_threadsafe(session.pause)
    wait_for(lambda: session.state == "paused")
    time.sleep(1.0)
    before = session.playout.consumed
    recorded.loop.call_soon_threadsafe(session.resume)
    wait_for(lambda: session.playout.consumed > before + 12)
    recorded.delete(made)
    times = [t // STEP for t in film(get(recorded, made["urls"]["recording"], made["token"]).content)]
    gaps = [b - a for a, b in itertools.pairwise(times) if b - a > 1]
    assert len(times) == session.frame + 1
    assert len(gaps) == 1
    assert 15 <= gaps[0] <= 20, "a second of standing still, and what it took to notice"


def test_a_server_may_be_told_not_to_record() -> None:
    with running(record=False) as run:
        made = run.create()
        assert made["urls"].get("recording") is None
        session = run.manager.sessions[made["id"]]
        wait_for(lambda: session.playout.consumed > 3)
        assert session.broadcast.codecs == []
        answer = get(run, f"/v1/sessions/{made['id']}/recording.mp4", made["token"])
        assert (answer.status_code, answer.json()["code"]) == (404, "no_recording")


def test_space_is_bounded_and_the_oldest_make_room(tmp_path: Path) -> None:
    size = 2**20
    with running(record_dir=str(tmp_path), record_bytes=size, record_space=2 * size) as run:
        first, second, third = run.create(), run.create(), run.create()
        assert third["urls"].get("recording") is None  # two of the largest size fill the space
        session = run.manager.sessions[first["id"]]
        wait_for(lambda: session.playout.consumed > 3)
        for made in (first, third):
            run.delete(made)
        wait_for(lambda: session.recording.size)
        fourth = run.create()
        assert fourth["urls"].get("recording") is not None
        assert get(run, first["urls"]["recording"], first["token"]).status_code == 404
        for made in (second, fourth):
            run.delete(made)
        assert b'farcast_recordings_stopped_total{why="space"} 1.0' in httpx.get(f"{run.url}/metrics").content


def test_a_temporary_folder_goes_with_the_server() -> None:
    with running() as run:
        made = run.create()
        session = run.manager.sessions[made["id"]]
        wait_for(lambda: session.recording.size)
        folder = session.recording.path.parent
        assert folder.is_dir()
    assert not folder.exists()


def test_what_an_earlier_server_left_goes_when_it_is_old(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("farcast-old.mp4", "farcast-new.mp4", "holiday.mp4"))
    for path in (old, new, other):
        path.write_bytes(b"film")
    os.utime(old, (0, 0))
    os.utime(other, (0, 0))
    Recordings(ServerConfig(record_dir=str(tmp_path)), Metrics())
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_a_folder_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--record-dir"):
        Recordings(ServerConfig(record_dir=str(tmp_path / "file" / "films")), Metrics())


@pytest.mark.slow
def test_what_a_kill_leaves_behind_plays(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-m", "farcast", "serve", "--port", "0", "--engine", FAKE, "--model", "fake"]
    path = os.pathsep.join([str(root), str(root / "client" / "python")])
    with subprocess.Popen(
        [*command, "--record-dir", str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"http://\S+", process.stdout.readline())
            assert match
            made = httpx.post(f"{match.group()}v1/sessions", json={"prompt": "a red circle"}, timeout=60).json()
            film_so_far = tmp_path / f"farcast-{made['id']}.mp4"
            wait_for(lambda: film_so_far.exists() and film_so_far.stat().st_size > 4_000, 30, "two seconds of film")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    times = film(film_so_far.read_bytes())
    assert len(times) >= 16
    assert times == [i * STEP for i in range(len(times))]
