"""The examples run as they are written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.support.faults import FaultyServer
from tests.support.film import film


def example(root: Path, name: str, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "client/python/examples" / name), *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.slow
def test_save_clip(root: Path, server: FaultyServer, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = example(root, "save_clip.py", server.url, str(out), "1.5")
    assert done.returncode == 0, done.stderr
    assert re.search(r"frame \d+ shows the new prompt", done.stdout)
    with av.open(str(out)) as file:
        assert sum(1 for _ in file.decode(video=0)) > 8


@pytest.mark.slow
def test_steer_from_stdin(root: Path, server: FaultyServer) -> None:
    done = example(
        root,
        "steer_from_stdin.py",
        server.url,
        stdin="a blue star\n\n/dial 500\n/dial soon\n/dial 1\na forbidden thing\n",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"on screen at frame \d+: a blue star", lines[0])
    assert lines[1] == "dial: 500 ms"
    assert "could not convert" in lines[2]
    assert "`latency_ms` must be" in lines[3]
    assert lines[4] == "This prompt is forbidden. Ask for something else."


@pytest.mark.slow
def test_frames_to_numpy(root: Path, server: FaultyServer) -> None:
    done = example(root, "frames_to_numpy.py", server.url, "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("green") == 4


@pytest.mark.slow
def test_render_take(root: Path, server: FaultyServer, tmp_path: Path) -> None:
    out = tmp_path / "final.mp4"
    done = example(root, "render_take.py", server.url, str(out), "8")
    assert done.returncode == 0, done.stderr
    frames = len(film(out.read_bytes()))
    assert frames > 1
    assert f"{frames} frames at 8 steps" in done.stdout
    score = json.loads(out.with_suffix(".json").read_text())
    assert score["seed"] >= 0
    assert "a big red circle bouncing on a navy background" in json.dumps(score)


@pytest.mark.slow
def test_examples_say_what_is_wrong_in_one_line(root: Path) -> None:
    done = example(root, "save_clip.py", "http://127.0.0.1:9", "x.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("No Farcast server answers")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["save_clip", "steer_from_stdin", "frames_to_numpy", "render_take"])
def test_an_example_without_arguments_says_how_it_is_used(root: Path, name: str) -> None:
    done = example(root, f"{name}.py")
    assert done.returncode == 1
    assert done.stderr.startswith(f"usage: python {name}.py http://127.0.0.1:8000")
    assert len(done.stderr.splitlines()) == 1
