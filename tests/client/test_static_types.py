"""A type checker sees the same parameters and results in `farcast.sync` as in the asynchronous client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RIGHT = """
from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

import farcast
from farcast import protocol
from farcast.media.recorder import Recorder

with farcast.sync.connect("http://127.0.0.1:8000", prompt="x", seed=1, headers={"A": "b"}) as live:
    assert_type(live, farcast.sync.Live)
    assert_type(live.prompt("y", transition=2), protocol.PromptApplied)
    assert_type(live.dial(500, steps=None), protocol.DialApplied)
    assert_type(live.image(b""), protocol.ImageApplied)
    assert_type(live.pause(), protocol.Session)
    assert_type(live.rewind(3), protocol.Session)
    assert_type(live.ping(), float)
    assert_type(live.stats(), farcast.Stats)
    assert_type(live.render("a.mp4", steps=4), protocol.RenderInfo)
    assert_type(live.record_for("a.mp4", seconds=1), Recorder)
    assert_type(live.download_recording("a.mp4"), Path)
    assert_type(live.frames(), Iterator[farcast.Frame])
    assert_type(farcast.__version__, str)
"""
WRONG = """
import farcast

with farcast.sync.connect("http://127.0.0.1:8000", promt="x") as live:
    live.prompt(3)
    live.dial(latency="fast")
    live.rewind("back")
    live.record_for("a.mp4")
"""


def check(root: Path, path: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(path.parent / "cache"),
    ]
    done = subprocess.run(
        [*command, "--cache-dir", str(path.parent / "cache"), str(path)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        cwd=path.parent,
        env={"MYPYPATH": str(root / "client/python"), "PATH": ""},
    )
    assert done.stderr == ""
    return done


def test_the_blocking_client_has_the_types_of_what_it_calls(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "user.py"
    path.write_text(RIGHT)
    done = check(root, path)
    assert done.returncode == 0, done.stdout
    path.write_text(WRONG)
    lines = check(root, path).stdout.splitlines()
    errors = {int(line.split(":")[1]) for line in lines if ": error:" in line}
    assert errors == {4, 5, 6, 7, 8}, "\n".join(lines)
