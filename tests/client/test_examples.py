"""The examples run as they are written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av

from tests.client.fake import Fake


def example(root: Path, name: str, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "client/python/examples" / name), *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=False)


def test_save_clip(root: Path, fake: Fake, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    done = example(root, "save_clip.py", fake.url, str(out), "1.5")
    assert done.returncode == 0, done.stderr
    assert "frame 36 shows the new prompt" in done.stdout
    with av.open(str(out)) as file:
        assert sum(1 for _ in file.decode(video=0)) > 8


def test_steer_from_stdin(root: Path, fake: Fake) -> None:
    done = example(
        root, "steer_from_stdin.py", fake.url, stdin="a blue star\n\n/dial 500\n/dial soon\n/dial 1\nworse\n"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["on screen at frame 36: a blue star", "dial: 500 ms"]
    assert "could not convert" in lines[2]
    assert "`latency_ms` must be" in lines[3]
    assert lines[4] == "A newer one came."


def test_frames_to_numpy(root: Path, fake: Fake) -> None:
    done = example(root, "frames_to_numpy.py", fake.url, "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("green") == 4


def test_render_take(root: Path, fake: Fake, tmp_path: Path) -> None:
    out = tmp_path / "final.mp4"
    done = example(root, "render_take.py", fake.url, str(out), "8")
    assert done.returncode == 0, done.stderr
    assert "37 frames at 8 steps" in done.stdout
    assert out.read_bytes() == b"an mp4"
    assert json.loads(out.with_suffix(".json").read_text())["seed"] == 7


def test_examples_say_what_is_wrong_in_one_line(root: Path) -> None:
    done = example(root, "save_clip.py", "http://127.0.0.1:9", "x.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("No Farcast server answers")
    assert len(done.stderr.splitlines()) == 1
