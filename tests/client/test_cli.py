"""The `farcast` command: dispatch without the server installed, and errors as one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import av
import pytest
from farcast import cli

from tests.support.faults import FaultyServer


def farcast(*args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "farcast", *args], capture_output=True, text=True, timeout=timeout, check=False
    )


def test_help_lists_the_commands_and_loads_none() -> None:
    code = "import sys; from farcast.cli import *; usage(discover()); sys.exit('typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
    done = farcast("--help")
    assert done.returncode == 0
    for name in ("serve", "generate", "watch"):
        assert f"\n  {name} " in done.stdout


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["fly"])
    assert ended.value.code == 2
    assert "no command 'fly'. Commands: " in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("stream.cli.never_written:app", "not part of this version"),
        ("a_package_that_is_not_there.x:app", "Install farcast-server"),
    ],
)
def test_commands_that_cannot_be_loaded(target: str, message: str) -> None:
    with pytest.raises(cli.Unavailable, match=message):
        cli.load(EntryPoint("x", target, cli.GROUP))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("disk on fire"), "internal error: OSError: disk on fire. Set FARCAST_DEBUG=1"),
        (ModuleNotFoundError("no torch", name="torch"), "needs torch, which is not installed. Install farcast-server"),
    ],
)
def test_no_traceback(error: Exception, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(**_: object) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        cli.run(broken, [], prog="farcast x")
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


def test_schema_prints_json() -> None:
    done = farcast("schema", "json")
    assert json.loads(done.stdout)["title"] == "Farcast wire"


@pytest.mark.slow
def test_watch_saves_a_clip(server: FaultyServer, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = farcast("watch", server.url, "-o", str(out), "--prompt", "a red circle", "--seconds", "1", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] >= 16
    assert (report["width"], report["height"]) == (96, 64)
    assert out.stat().st_size > 1000


@pytest.mark.slow
def test_ctrl_c_leaves_a_whole_file(server: FaultyServer, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "farcast", "watch", server.url, "-o", str(out), "--seconds", "600"]
    # A shell's background jobs ignore Ctrl-C, and what they start inherits that: here it is to be heard.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hearing)
    until = time.monotonic() + 60
    while time.monotonic() < until and not (server.sessions and server.only().viewers):
        time.sleep(0.05)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    with av.open(str(out)) as file:
        assert sum(1 for _ in file.decode(video=0)) > 3
    assert server.sessions == {}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["http://127.0.0.1:9", "-o", "x.mp4"], "No Farcast server answers at http://127.0.0.1:9/"),
        (["URL/foo", "-o", "x.mp4"], "There is no Farcast API at"),
        (["URL", "-o", "x.mp4", "--prompt", " "], "The prompt is empty"),
        (["URL", "-o", "x.mp4", "--latency-ms", "nan"], "`latency_ms` must be a number"),
        (["URL", "-o", "/no/such/place/x.mp4"], "cannot be written"),
        (["URL", "-o", "x.mp4", "--image", "/no/such.png"], "cannot be read"),
        (["URL", "-o", "x.mp4", "--session", "none", "--token", "t"], "There is no such session"),
    ],
)
def test_watch_says_what_is_wrong(
    server: FaultyServer, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["watch", *(arg.replace("URL", server.url.rstrip("/")) for arg in args)])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
