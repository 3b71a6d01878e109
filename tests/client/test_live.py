"""The client against a server that speaks the wire: the happy ways, and every way to go wrong."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import farcast
import numpy as np
import pytest
from farcast import events

from tests.client.fake import COLOURS, Fake

RED, BLUE = "a red circle", "a blue star"


def close_to(image: np.ndarray, name: str) -> bool:
    return bool(np.abs(image.reshape(-1, 3).mean(0) - COLOURS[name]).max() < 25)


async def test_frames_follow_the_prompt(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, seed=5) as live:
        assert (live.session.seed, live.session.prompt) == (5, RED)
        async for frame in live.frames():
            assert frame.image.shape == (64, 96, 3)
            assert frame.image.dtype == np.uint8
            assert close_to(frame.image, "red")
            break
        applied = await live.prompt(BLUE)
        assert (applied.text, applied.chunk, applied.frame) == (BLUE, 3, 36)
        async with asyncio.timeout(5):
            async for frame in live.frames():
                if close_to(frame.image, "blue"):
                    break
        stats = await live.stats()
        assert stats.media is not None
        assert stats.media.frames > 2
        assert stats.media.bytes > 0
        assert stats.media.first_frame_s is not None
    assert fake.sessions == {}, "leaving ends the session it started"


async def test_frame_times_advance_by_the_frame_rate(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED) as live:
        times = []
        async for frame in live.frames():
            times.append(frame.pts)
            if len(times) == 12:
                break
    assert np.diff(times) == pytest.approx(1 / 16, abs=1e-3)


async def test_dial_moves_only_what_is_given(fake: Fake) -> None:
    start = farcast.Dial(latency_ms=800, steps=4)
    async with farcast.connect(fake.url, prompt=RED, dial=start, media=False) as live:
        assert (await live.dial(500)).dial == farcast.Dial(latency_ms=500, steps=4)
        assert (await live.dial(steps=None, ceiling=8)).dial == farcast.Dial(latency_ms=500, ceiling=8)
        assert (await live.dial(floor=10)).dial == farcast.Dial(latency_ms=500, floor=10, ceiling=10)


async def test_pause_resume_rewind_stop(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        assert (await live.pause()).state == "paused"
        assert live.session.state == "paused"
        assert (await live.resume()).state == "live"
        assert (await live.rewind(2)).chunk == 2
        assert await live.ping() < 5
        assert (await live.score())["version"] == 1
        assert (await live.stop()).state == "stopped"
        with pytest.raises(farcast.SessionEnded):
            await live.prompt(BLUE)


async def test_image_waits_for_the_new_shot(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        applied = await live.image(np.zeros((8, 8, 3), np.uint8))
        assert applied.frame == 37
        with pytest.raises(farcast.RequestRefused, match="not an image") as caught:
            await live.image(b"hello")
        assert (caught.value.status, caught.value.code) == (415, "not_an_image")
        with pytest.raises(farcast.MediaFailed, match="cannot be read"):
            await live.image("/no/such/picture.png")


async def test_start_from_an_image(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, image=np.zeros((8, 8, 3), np.uint8), media=False) as live:
        assert live.session.prompt == RED
    assert fake.bodies[0].startswith(b"\x89PNG")


async def test_go_on_from_a_clip(fake: Fake, tmp_path: Path) -> None:
    clip = tmp_path / "walk.mp4"
    clip.write_bytes(b"\0\0\0\x18ftyp a clip")
    for given in (clip, str(clip), clip.read_bytes()):
        async with farcast.connect(fake.url, prompt=RED, clip=given, media=False) as live:
            assert live.session.prompt == RED
    assert fake.bodies == [clip.read_bytes()] * 3
    with pytest.raises(farcast.MediaFailed, match="cannot be read"):
        async with farcast.connect(fake.url, prompt=RED, clip=tmp_path / "none.mp4"):
            pass


async def test_events_are_typed(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        happenings = live.events()
        await live.prompt(BLUE)
        assert isinstance(await happenings.get(), events.PromptPending)
        assert isinstance(await happenings.get(), events.PromptApplied)
        fake.say('{"type": "invented_later", "x": 1}')
        fake.say('{"type": "underrun", "count": 2, "frame": 40, "new_field": true}')
        underrun = await happenings.get()
        assert isinstance(underrun, events.Underrun)
        assert (await live.stats()).underruns == 2


async def test_joining_needs_the_token_and_leaves_the_session(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as first:
        async with farcast.connect(fake.url, session=first.id, token=first.token, media=False) as second:
            seen = second.events()
            await first.prompt(BLUE)
            assert isinstance(await seen.get(), events.PromptApplied)
        assert first.id in fake.sessions
        with pytest.raises(farcast.RequestRefused, match="token"):
            async with farcast.connect(fake.url, session=first.id, token="guess"):
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
async def test_impossible_prompts_never_leave(fake: Fake, text: str, message: str) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        with pytest.raises(farcast.ProtocolError, match=message):
            await live.prompt(text)
    assert fake.received == []


async def test_refusals_are_typed(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        with pytest.raises(farcast.PromptRejected) as rejected:
            await live.prompt("something worse")
        assert rejected.value.code == "superseded"
        with pytest.raises(farcast.CommandFailed, match="no chunk 99"):
            await live.rewind(99)
        with pytest.raises(farcast.ProtocolError, match="latency_ms"):
            await live.dial(float("nan"))
        fake.deaf = True
        with pytest.raises(farcast.AnswerTimeout):
            await live.prompt(BLUE, timeout=0.1)


async def test_a_mix_of_prompts(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        assert (await live.prompt(mix={RED: 7, BLUE: 3})).text == f"0.70 {RED} + 0.30 {BLUE}"
        assert (await live.prompt(mix=[(BLUE, 2.0), (RED, 0.0)])).text == BLUE
        for mix, says in (({}, "1 to 4"), ({RED: -1}, "weight"), ({RED: 0}, "All weights"), ({"": 1}, "empty")):
            with pytest.raises(farcast.ProtocolError, match=says):
                await live.prompt(mix=mix)
        with pytest.raises(farcast.ProtocolError, match="`text` is missing"):
            await live.prompt()


async def test_a_take_is_rendered_by_the_server(fake: Fake, tmp_path: Path) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        seen: list[str] = []
        done = await live.render(
            tmp_path / "final.mp4", steps=32, poll=0.01, progress=lambda i: seen.append(f"{i.state} {i.progress}")
        )
        assert (done.state, done.steps) == ("done", 32)
        assert (tmp_path / "final.mp4").read_bytes() == b"an mp4"
        assert seen == ["queued 0.0", "running 0.5", "done 1.0"]
        assert os.listdir(tmp_path) == ["final.mp4"]
        with pytest.raises(farcast.RenderFailed, match="No luck"):
            await live.render(steps=13, poll=0.01)
        with pytest.raises(farcast.ProtocolError, match="`steps` must be"):
            await live.render(steps=51)
        with pytest.raises(farcast.MediaFailed, match="does not exist"):
            await live.render("/no/such/folder/x.mp4")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await live.render(steps=2, poll=30)
        assert fake.render is None, "giving up cancels it on the server"
        assert (await live.download_recording(tmp_path / "shown.mp4")).read_bytes() == b"what was shown"


async def test_a_full_server_says_when_to_come_back(fake: Fake) -> None:
    fake.full = True
    with pytest.raises(farcast.RequestRefused, match="All places") as caught:
        async with farcast.connect(fake.url, prompt=RED):
            pass
    assert (caught.value.status, caught.value.retry_after) == (503, 7.0)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://x", "http://"])
async def test_no_server(url: str) -> None:
    with pytest.raises(farcast.FarcastError, match="farcast serve|not the address"):
        async with farcast.connect(url, prompt=RED):
            pass


async def test_arguments_that_exclude_each_other(fake: Fake) -> None:
    with pytest.raises(farcast.FarcastError, match="either prompt"):
        async with farcast.connect(fake.url):
            pass
    with pytest.raises(farcast.FarcastError, match="not both"):
        async with farcast.connect(fake.url, prompt=RED, image=b"", clip=b""):
            pass
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        with pytest.raises(farcast.FarcastError, match="media=True"):
            live.frames()
