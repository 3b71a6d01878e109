"""A live take over the real engine process and the embedded model, rendered again from its score alone."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import farcast
import numpy as np
import pytest
from farcast import cli, events

pytest.importorskip("torch", reason="the server's packages are not installed")


EMBEDDED = json.loads((Path(__file__).parents[3] / "models/tiny/farcast.json").read_text())


def command(*args: str, timeout: float = 170) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "farcast", *args], capture_output=True, text=True, timeout=timeout, check=False
    )


def here(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Exit status and stderr of a command run in this process: another would import torch again for each."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(args))
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server with the embedded model, started as a user starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "farcast", "serve", "--port", "0", "--no-record"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines, url = [], None
    until = time.monotonic() + 150
    while url is None and time.monotonic() < until and (line := process.stdout.readline()):
        lines.append(line)
        url = re.search(r"ready .*(http://\S+)", line)
    assert url is not None, "".join(lines)
    yield url[1]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert "Traceback" not in rest, rest


async def until(live: farcast.Live, wanted: Callable[[events.Chunk], bool]) -> None:
    async with asyncio.timeout(200):
        async for event in live.events():
            if isinstance(event, events.Chunk) and wanted(event):
                return


async def direct(url: str) -> tuple[dict[str, Any], farcast.protocol.RenderInfo]:
    """Three prompts, one of them a mix, a picture, the dial and a rewind; then the score."""
    dial = farcast.Dial(steps=2)
    async with farcast.connect(url, prompt="a big red star spinning on a navy background", seed=5, dial=dial) as live:
        await until(live, lambda c: c.index >= 1)
        await live.prompt("a big blue heart pulsing on a cream background", timeout=150)
        await live.prompt(
            mix={"a big green ring drifting on a grey background": 3, "a big white cross": 1},
            transition=1,
            timeout=150,
        )
        await live.dial(steps=1, timeout=100)
        picture = np.full((live.info.height, live.info.width, 3), (200, 180, 40), np.uint8)
        shot = await live.image(picture, timeout=150)
        await until(live, lambda c: c.index >= shot.chunk + 1)
        await live.dial(latency_ms=1500, steps=None, timeout=100)
        back = await live.rewind(shot.chunk + 1, timeout=100)
        await until(live, lambda c: c.index >= back.chunk + 1)
        await live.pause()
        await asyncio.sleep(1.0)  # what was on its way is there
        again = await live.render(steps=None)
        return await live.score(), again


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_live_take_renders_exactly_and_at_32_steps(server: str, tmp_path: Path) -> None:
    score, again = await direct(server)
    assert again.exact is True, "rendered by the server"
    kinds = {kind for entry in score["entries"] for kind in entry}
    assert {"prompt", "mix", "image", "rebuilt", "dial", "sigmas"} <= kinds
    file = tmp_path / "take.json"
    file.write_text(json.dumps(score))

    shown = await asyncio.to_thread(command, "score", "show", str(file))
    assert shown.returncode == 0, shown.stderr
    assert "0.75 a big green ring" in shown.stdout
    assert "the take came back" in shown.stdout

    reports = {}
    for steps in ("live", "32"):
        out = tmp_path / f"{steps}.mp4"
        done = await asyncio.to_thread(
            command, "render", str(file), "--steps", steps, "-o", str(out), "--json", timeout=400
        )
        assert done.returncode == 0, done.stderr
        reports[steps] = json.loads(done.stdout)
        with av.open(str(out)) as video:
            assert sum(1 for _ in video.decode(video=0)) == reports[steps]["frames"] == again.frames
    assert reports["live"]["exact"] is True, reports["live"]
    assert reports["32"]["exact"] is None
    assert reports["32"]["chunks"] == score["chunks"]
    assert reports["32"]["sha256"] != reports["live"]["sha256"]


def score_file(path: Path, **change: Any) -> Path:
    entries = [{"chunk": 0, "prompt": "a red circle"}, {"chunk": 0, "steps": 1, "sigmas": [1.0, 0.0]}]
    score = {
        "score": 1, "model": "farcast-tiny", "weights": "", "seed": 1, "guidance": 1.0,
        "width": EMBEDDED["width"], "height": EMBEDDED["height"], "fps": 16.0, "chunks": 1, "entries": entries,
    }  # fmt: skip
    path.write_text(json.dumps({**score, **change}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "args", "says"),
    [
        ({"score": 9}, (), "of version 9; this Farcast reads up to 1. Update Farcast"),
        ({"entries": []}, (), "no prompt at chunk 0. Was it edited by hand?"),
        ({"model": "another"}, (), "made with another model: its model is another"),
        ({"weights": "0123456789abcdef"}, (), "its version of the model is 0123456789abcdef"),
        ({"chunks": 0}, (), "no finished chunk"),
        ({}, ("--steps", "99"), "--steps must be a whole number from 1 to 50, or live; got '99'."),
        ({}, ("-o", "no/such/folder/x.mp4"), "does not exist"),
    ],
)
def test_what_cannot_be_rendered_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, Any], args: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = score_file(tmp_path / "score.json", **change), tmp_path / "out.mp4"
    status, said = here(capsys, "render", str(file), "-o", str(out), *args)
    assert status == 1
    assert says in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not out.exists()


@pytest.mark.slow
def test_a_file_that_is_none_or_no_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text("{")
    for name, says in (("nothing.json", "cannot be read: No such file"), ("x.json", "not JSON, so it is no score")):
        for args in (("score", "show"), ("render", "-o", str(tmp_path / "o.mp4"))):
            status, said = here(capsys, *args, str(tmp_path / name))
            assert status == 1
            assert says in said
            assert len(said.splitlines()) == 1
