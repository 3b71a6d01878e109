"""`farcast serve` as a process: what it does when its engine cannot be kept running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.support.timing import slack

ROOT = Path(__file__).resolve().parents[2]


def engine_pid(server: int) -> int | None:
    """The child that was spawned with a pipe, and is not the tracker of its resources."""
    for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    return None


def test_five_deaths_of_the_engine_in_a_minute_end_the_server_with_an_error() -> None:
    command = [
        sys.executable, "-m", "farcast", "serve", "--port", "0", "--no-record",
        "--engine", "tests.support.fake_backend:open_model", "--model", "fake?step=0.002",
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'client/python'}"}
    server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = None
        while found is None:
            line = server.stdout.readline()
            assert line, "the server ended"
            if "ready with" in line:
                found = re.search(r"http://\S+/", line)
                assert found
        url = found.group().rstrip(".")
        end = time.monotonic() + 60 * slack()
        killed: set[int] = set()
        while server.poll() is None and time.monotonic() < end:
            try:
                ready = httpx.get(url + "readyz", timeout=5).status_code == 200
                pid = engine_pid(server.pid)
            except (httpx.HTTPError, FileNotFoundError):  # it is ending
                continue
            if ready and pid is not None and pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        _, errors = server.communicate(timeout=20)
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()
    assert len(killed) == 5
    assert server.returncode == 1
    assert "Traceback" not in errors
    assert "keeps ending by itself" in errors
