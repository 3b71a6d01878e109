"""`farcast generate`: the frames that were asked for, a report in the agreed form, one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from farcast.cli import run
from PIL import Image

from stream.cli import generate


def ask(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        run(generate.app, list(args), prog="farcast generate")
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return end.value.code, said.out, said.err.strip()


def frames_in(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def test_a_clip_of_the_embedded_model_and_its_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    prompt = ("--prompt", "a big red circle bouncing on a navy background")
    code, said, _ = ask(capsys, *prompt, "--frames", "30", "--steps", "2", "--seed", "3", "-o", str(out), "--json")
    assert code in (0, None)
    report = json.loads(said)
    assert (report["frames"], report["steps"], report["seed"], report["fps"]) == (30, 2, 3, 16)
    assert report["realtime_factor"] > 0
    film = frames_in(out)
    assert len(film) == 30
    assert film[0].shape == (report["height"], report["width"], 3)
    corner = np.stack([frame[:8, :8] for frame in film]).reshape(-1, 3).mean(0)
    assert corner.argmax() == 2  # navy
    assert corner.max() < 130


def test_a_clip_from_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    Image.fromarray(np.full((96, 96, 3), (200, 30, 30), np.uint8)).save(picture)
    out = tmp_path / "clip.mp4"
    code, _, _ = ask(capsys, "--prompt", "a red star", "--image", str(picture), "--frames", "13", "-o", str(out))
    assert code in (0, None)
    first = frames_in(out)[0].reshape(-1, 3).mean(0)
    assert first[0] > 2 * first[1]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--execution", "quick"], "eager, compile"),
        (["--execution", "graphs", "--device", "cpu"], "CUDA"),
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--image", "nothing.png"], "nothing.png"),
        (["--image", "a.png", "--clip", "b.mp4"], "not both"),
        (["--steps", "0"], "steps"),
        (["--frames", "0"], "frames"),
        (["--guidance", "-1"], "guidance"),
        (["--prompt", ""], "prompt"),
    ],
)
def test_what_is_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, args: list[str], says: str
) -> None:
    code, _, error = ask(capsys, "--prompt", "a red star", "-o", str(tmp_path / "clip.mp4"), *args)
    assert code not in (0, None)
    assert says in error
    assert len([line for line in error.splitlines() if line.startswith("farcast")]) == 1
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("name", ["x.gif", "x.webm", "x"])
def test_a_name_of_another_format_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    code, _, said = ask(capsys, "--prompt", "a red circle", "-o", str(tmp_path / name))
    assert code == 1
    assert ".mp4" in said
    assert list(tmp_path.iterdir()) == []


def test_one_prompt_or_a_list(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, said = ask(capsys, "-o", str(tmp_path / "x.mp4"))
    assert code == 1
    assert "--prompt-file" in said
