"""The client against a real server over a fake model: the happy ways, and every way to go wrong."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import farcast
import numpy as np
import pytest
from farcast import events
from farcast.events import Event
from farcast.media.fanout import Reader

from tests.support.fake_backend import CHUNK, COLOURS
from tests.support.faults import FaultyServer
from tests.support.film import clip, film

RED, BLUE = "a red circle", "a blue star"


def frame_of(chunk: int) -> int:
    """The first frame of a chunk: the first chunk is one frame, all others are twelve."""
    return max(0, 1 + CHUNK * (chunk - 1))


async def next_but_news(happenings: Reader[Event]) -> Event:
    """The next event that is no news of a chunk or of the session's state: those come at any time."""
    while isinstance(event := await happenings.get(), events.Chunk | events.Session):
        pass
    return event


async def made(live: farcast.Live, chunk: int) -> None:
    """Until this chunk is made, and the first one is shown."""
    async with asyncio.timeout(20):
        while (newest := (await live.stats()).chunk) is None or newest.index < chunk or live.session.state != "live":
            await asyncio.sleep(0.02)


def close_to(image: np.ndarray, name: str) -> bool:
    return bool(np.abs(image.reshape(-1, 3).mean(0) - COLOURS[name]).max() < 25)


@pytest.mark.slow
async def test_frames_follow_the_prompt(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, seed=5) as live:
        assert (live.session.seed, live.session.prompt) == (5, RED)
        async for frame in live.frames():
            assert frame.image.shape == (64, 96, 3)
            assert frame.image.dtype == np.uint8
            assert close_to(frame.image, "red")
            break
        applied = await live.prompt(BLUE)
        assert (applied.text, applied.frame) == (BLUE, frame_of(applied.chunk))
        async with asyncio.timeout(5):
            async for frame in live.frames():
                if close_to(frame.image, "blue"):
                    break
        stats = await live.stats()
        assert stats.media is not None
        assert stats.media.frames > 2
        assert stats.media.bytes > 0
        assert stats.media.first_frame_s is not None
    assert server.sessions == {}, "leaving ends the session it started"


async def test_frame_times_advance_by_the_frame_rate(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED) as live:
        times = []
        async for frame in live.frames():
            times.append(frame.pts)
            if len(times) == 12:
                break
    assert np.diff(times) == pytest.approx(1 / 16, abs=1e-3)


async def test_dial_moves_only_what_is_given(server: FaultyServer) -> None:
    start = farcast.Dial(latency_ms=800, steps=4)
    async with farcast.connect(server.url, prompt=RED, dial=start, media=False) as live:
        assert (await live.dial(500)).dial == farcast.Dial(latency_ms=500, steps=4)
        assert (await live.dial(steps=None, ceiling=8)).dial == farcast.Dial(latency_ms=500, ceiling=8)
        assert (await live.dial(floor=10)).dial == farcast.Dial(latency_ms=500, floor=10, ceiling=10)


async def test_pause_resume_rewind_stop(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        await made(live, 2)
        assert (await live.pause()).state == "paused"
        assert live.session.state == "paused"
        assert (await live.resume()).state == "live"
        assert (await live.rewind(2)).chunk == 2
        assert await live.ping() < 5
        assert (await live.score())["score"] == 1
        assert (await live.stop()).state == "stopped"
        with pytest.raises(farcast.SessionEnded):
            await live.prompt(BLUE)


@pytest.mark.slow
async def test_image_waits_for_the_new_shot(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        applied = await live.image(np.zeros((8, 8, 3), np.uint8))
        assert applied.frame == frame_of(applied.chunk)
        with pytest.raises(farcast.RequestRefused, match="not an image") as caught:
            await live.image(b"hello")
        assert (caught.value.status, caught.value.code) == (400, "bad_image")
        with pytest.raises(farcast.MediaFailed, match="cannot be read"):
            await live.image("/no/such/picture.png")


async def test_start_from_an_image(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, image=np.zeros((8, 8, 3), np.uint8), media=False) as live:
        assert live.session.prompt == RED
    assert b"\x89PNG" in server.layer.bodies[0]


async def test_go_on_from_a_clip(server: FaultyServer, tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    path.write_bytes(clip())
    for given in (path, str(path), path.read_bytes()):
        async with farcast.connect(server.url, prompt=RED, clip=given, media=False) as live:
            assert live.session.prompt == RED
    assert [path.read_bytes() in body for body in server.layer.bodies] == [True] * 3
    with pytest.raises(farcast.MediaFailed, match="cannot be read"):
        async with farcast.connect(server.url, prompt=RED, clip=tmp_path / "none.mp4"):
            pass


async def test_events_are_typed(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        happenings = live.events()
        await live.prompt(BLUE)
        assert isinstance(await next_but_news(happenings), events.PromptPending)
        assert isinstance(await next_but_news(happenings), events.PromptApplied)
        server.say('{"type": "invented_later", "x": 1}')
        server.say('{"type": "underrun", "count": 2, "frame": 40, "new_field": true}')
        underrun = await next_but_news(happenings)
        assert isinstance(underrun, events.Underrun)
        assert (await live.stats()).underruns == 2


@pytest.mark.slow
async def test_joining_needs_the_token_and_leaves_the_session(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as first:
        async with farcast.connect(server.url, session=first.id, token=first.token, media=False) as second:
            seen = second.events()
            await first.prompt(BLUE)
            async with asyncio.timeout(10):
                while not (isinstance(event := await seen.get(), events.Chunk) and event.prompt == BLUE):
                    pass
        assert first.id in server.sessions
        with pytest.raises(farcast.RequestRefused, match="token"):
            async with farcast.connect(server.url, session=first.id, token="guess"):
                pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("\u200b", "empty"),
        ("x" * 2001, "2001 characters"),
        (7, "must be text"),
        ("a\0b", "control"),
    ],
)
async def test_impossible_prompts_never_leave(server: FaultyServer, text: str, message: str) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        with pytest.raises(farcast.ProtocolError, match=message):
            await live.prompt(text)
    assert server.layer.received == []


@pytest.mark.slow
async def test_refusals_are_typed(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        await live.pause()  # so that the first one still waits when the second comes
        older, newer = (asyncio.create_task(live.prompt(text)) for text in ("a green square", BLUE))
        with pytest.raises(farcast.PromptRejected) as rejected:
            await older
        assert rejected.value.code == "superseded"
        await live.resume()
        assert (await newer).text == BLUE
        with pytest.raises(farcast.PromptRejected, match="forbidden") as rejected:
            await live.prompt("something forbidden")
        assert rejected.value.code == "invalid_prompt"
        with pytest.raises(farcast.CommandFailed, match="Chunk 9999 is not made yet"):
            await live.rewind(9999)
        with pytest.raises(farcast.ProtocolError, match="latency_ms"):
            await live.dial(float("nan"))
        server.layer.ignore_commands = True
        with pytest.raises(farcast.AnswerTimeout):
            await live.prompt(BLUE, timeout=0.1)


async def test_who_steers_is_told_when_viewers_come_and_go(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as steers:
        async with farcast.connect(server.url, session=steers.id, token=steers.token) as watches:
            await watches.frames().get()
            async with asyncio.timeout(10):
                while steers.session.viewers != 1:
                    await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            while steers.session.viewers != 0:
                await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_mix_of_prompts(server: FaultyServer) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        assert (await live.prompt(mix={RED: 7, BLUE: 3})).text == f"0.70 {RED} + 0.30 {BLUE}"
        assert (await live.prompt(mix=[(BLUE, 2.0), (RED, 0.0)])).text == BLUE
        for mix, says in (({}, "1 to 4"), ({RED: -1}, "weight"), ({RED: 0}, "All weights"), ({"": 1}, "empty")):
            with pytest.raises(farcast.ProtocolError, match=says):
                await live.prompt(mix=mix)
        with pytest.raises(farcast.ProtocolError, match="`text` is missing"):
            await live.prompt()


@pytest.mark.slow
async def test_a_take_is_rendered_by_the_server(server: FaultyServer, tmp_path: Path) -> None:
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        await made(live, 2)
        seen: list[str] = []
        done = await live.render(
            tmp_path / "final.mp4", steps=32, poll=0.01, progress=lambda i: seen.append(f"{i.state} {i.progress}")
        )
        assert (done.state, done.steps) == ("done", 32)
        assert len(film((tmp_path / "final.mp4").read_bytes())) == done.frames > 1
        states = [line.split()[0] for line in seen]
        assert list(dict.fromkeys(states)) == ["queued", "running", "done"]
        progress = [float(line.split()[1]) for line in seen]
        assert progress == sorted(progress)
        assert (progress[0], progress[-1]) == (0.0, 1.0)
        assert os.listdir(tmp_path) == ["final.mp4"]
        with pytest.raises(farcast.RenderFailed, match="ran out of memory"):
            await live.render(steps=13, poll=0.01)
        with pytest.raises(farcast.ProtocolError, match="`steps` must be"):
            await live.render(steps=51)
        with pytest.raises(farcast.MediaFailed, match="does not exist"):
            await live.render("/no/such/folder/x.mp4")
        before = server.renders
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await live.render(steps=2, poll=30)
        assert server.renders == before, "giving up cancels it on the server"
        assert len(film((await live.download_recording(tmp_path / "shown.mp4")).read_bytes())) > 1


async def test_a_full_server_says_when_to_come_back(server: FaultyServer) -> None:
    server.fill(retry_after=7)
    with pytest.raises(farcast.RequestRefused, match="All places") as caught:
        async with farcast.connect(server.url, prompt=RED):
            pass
    assert (caught.value.status, caught.value.retry_after) == (503, 7.0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://x", "http://"])
async def test_no_server(url: str) -> None:
    with pytest.raises(farcast.FarcastError, match="farcast serve|not the address"):
        async with farcast.connect(url, prompt=RED):
            pass


async def test_arguments_that_exclude_each_other(server: FaultyServer) -> None:
    with pytest.raises(farcast.FarcastError, match="either prompt"):
        async with farcast.connect(server.url):
            pass
    with pytest.raises(farcast.FarcastError, match="not both"):
        async with farcast.connect(server.url, prompt=RED, image=b"", clip=b""):
            pass
    async with farcast.connect(server.url, prompt=RED, media=False) as live:
        with pytest.raises(farcast.FarcastError, match="media=True"):
            live.frames()
