"""The client and the third-party page against the real server (with a model that costs nothing)."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import farcast
import httpx
import numpy as np
import pytest
from farcast import events


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server in a process of its own, started as a user starts it."""
    command = [sys.executable, "-m", "farcast", "serve", "--port", "0", "--model", "fake?step=0.01"]
    process = subprocess.Popen(
        [*command, "--engine", "tests.support.fake_backend:open_model"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    until = time.monotonic() + 90
    url = None
    while url is None and time.monotonic() < until:
        line = process.stdout.readline()
        lines.append(line)
        ready = re.search(r"ready .*(http://\S+)", line)
        url = ready[1] if ready else None
        if not line:
            break
    assert url is not None, "".join(lines)
    yield url
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode in (0, 130), rest
    assert "Traceback" not in rest, rest


def blueish(image: np.ndarray) -> bool:
    red, _, blue = image.reshape(-1, 3).mean(0)
    return bool(blue > red + 50)


@pytest.mark.slow
async def test_a_take_from_start_to_end(server: str, tmp_path: Path) -> None:
    async with farcast.connect(server, prompt="a red circle", seed=3) as live:
        frames = live.frames()
        first = await asyncio.wait_for(frames.get(), 20)
        assert not blueish(first.image)
        applied = await live.prompt("a blue star")
        assert applied.latency_ms < 10_000
        async with asyncio.timeout(10):
            async for frame in frames:
                if blueish(frame.image):
                    break
        assert (await live.dial(700, ceiling=2)).dial.ceiling == 2
        happenings = live.events()
        async with asyncio.timeout(15):
            async for event in happenings:
                if isinstance(event, events.Chunk) and event.steps <= 2:
                    break
        assert (await live.pause()).state == "paused"
        assert (await live.resume()).state == "live"
        assert (await live.image(np.full((40, 60, 3), 200, np.uint8))).frame > applied.frame
        recorder = await live.record_for(tmp_path / "take.mp4", seconds=1)
        assert recorder.frames > 5
        assert await live.ping() < 5
        assert (await live.score())["seed"] == 3
        stats = await live.stats()
        assert stats.media is not None
        assert stats.media.packets_lost == 0
        assert (await live.stop()).state == "stopped"


async def test_the_server_refuses_in_words(server: str) -> None:
    with pytest.raises(farcast.RequestRefused) as caught:
        async with farcast.connect(server, session="no-such-session", token="guess"):
            pass
    assert caught.value.status in (401, 404)
    with pytest.raises(farcast.RequestRefused, match="image"):
        async with farcast.connect(server, prompt="a red circle", image=b"not an image"):
            pass
    async with farcast.connect(server, prompt="a red circle", media=False) as live:
        with pytest.raises(farcast.RequestRefused):
            await live.image(b"GIF89a" + b"\0" * 20)
        with pytest.raises(farcast.CommandFailed):
            await live.rewind(2_000_000)
        assert live.session.prompt == "a red circle"


@pytest.mark.slow
async def test_two_prompts_at_once_latest_wins(server: str) -> None:
    async with farcast.connect(server, prompt="a red circle") as live:
        await asyncio.wait_for(live.frames().get(), 20)
        old, new = await asyncio.gather(
            live.prompt("a green square"), live.prompt("a blue star"), return_exceptions=True
        )
        assert not isinstance(new, BaseException), new
        if isinstance(old, farcast.PromptRejected):
            assert old.code == "superseded"
        else:  # a chunk began between the two: then it was on screen before the newer one
            assert not isinstance(old, BaseException), old
            assert old.chunk < new.chunk
        assert live.session.state == "live"


async def test_a_second_client_watches_the_same_take(server: str) -> None:
    async with farcast.connect(server, prompt="a blue star") as first:
        await asyncio.wait_for(first.frames().get(), 20)
        async with farcast.connect(server, session=first.id, token=first.token) as second:
            frame = await asyncio.wait_for(second.frames().get(), 20)
            assert blueish(frame.image)
        assert (await first.ping()) < 5


@pytest.mark.browser
async def test_the_thirty_line_page_plays(server: str, root: Path, chromium: str | None) -> None:
    from playwright.async_api import async_playwright

    page_text = (root / "client/examples/whep.html").read_text()
    code_lines = page_text.split("<script")[1].count("\n")
    assert code_lines <= 40
    async with async_playwright() as play:
        flags = ["--no-sandbox", "--disable-features=WebRtcHideLocalIpsWithMdns"]
        browser = await play.chromium.launch(executable_path=chromium, args=flags)
        page = await browser.new_page()
        await page.route("**/third-party.html", lambda route: route.fulfill(body=page_text, content_type="text/html"))
        await page.goto(server + "third-party.html")
        await page.fill("input", "a blue star")
        await page.click("button")
        mean = """async () => {
            const video = document.querySelector("video");
            while (!(video.currentTime > 0 && video.videoWidth)) await new Promise((done) => setTimeout(done, 50));
            const canvas = new OffscreenCanvas(8, 8), paint = canvas.getContext("2d");
            paint.drawImage(video, 0, 0, 8, 8);
            return Array.from(paint.getImageData(4, 4, 1, 1).data);
        }"""
        red, _, blue, _ = await asyncio.wait_for(page.evaluate(mean), 30)
        assert blue > red + 50
        await browser.close()


async def test_the_server_describes_its_wire(server: str) -> None:
    async with httpx.AsyncClient(base_url=server) as http:
        assert (await http.get("/asyncapi.json")).json()["channels"]["control"][
            "address"
        ] == "/v1/sessions/{id}/control"
        openapi = (await http.get("/openapi.json")).json()
        assert {"/v1/sessions", "/v1/sessions/{session_id}/whep"} <= set(openapi["paths"])
        page = (await http.get("/docs")).text
    words = ("POST", "/v1/sessions", "prompt_applied", "deadline_missed", "SessionRequest", "ScoreEntry", "id=flow")
    assert [word for word in words if word not in page] == []
    assert "HTTPValidationError" not in page, "every error is a Problem"
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
