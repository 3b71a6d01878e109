"""What the client does when the connection breaks: the session goes on, and nothing asked is forgotten."""

from __future__ import annotations

import asyncio

import farcast
import pytest
from farcast import events, whep

from tests.client.fake import Fake

RED, BLUE = "a red circle", "a blue star"


async def test_a_prompt_survives_a_broken_control_socket(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        happenings = live.events()
        fake.deaf = True
        asking = asyncio.create_task(live.prompt(BLUE, timeout=10))
        while not fake.received:
            await asyncio.sleep(0.01)
        fake.deaf = False
        await asyncio.to_thread(fake.drop_sockets)
        assert (await asking).text == BLUE
        lost, back = await happenings.get(), await happenings.get()
        assert isinstance(lost, events.Disconnected)
        assert isinstance(back, events.Reconnected)
        assert (lost.part, back.part) == ("control", "control")


async def test_the_picture_comes_back(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED) as live:
        frames = live.frames()
        await frames.get()
        happenings = live.events()
        await asyncio.to_thread(fake.drop_media)
        async with asyncio.timeout(15):
            while not isinstance(event := await happenings.get(), events.Reconnected):
                pass
        assert event.part == "media"
        stats = await live.stats()
        assert stats.media is not None
        assert stats.media.reconnects == 1
        assert (await frames.get()).image.shape == (64, 96, 3)


async def test_silence_of_a_live_session_is_a_broken_connection(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whep, "_SILENCE_S", 0.6)
    async with farcast.connect(fake.url, prompt=RED) as live:
        frames, happenings = live.frames(), live.events()
        await frames.get()
        fake.only().frozen = True
        async with asyncio.timeout(15):
            while not isinstance(event := await happenings.get(), events.Disconnected):
                pass
            assert "no frame for 0.6 s" in event.reason
            fake.only().frozen = False
            while not isinstance(event := await happenings.get(), events.Reconnected):
                pass
            await frames.get()


async def test_a_session_that_is_gone_ends_everything(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        happenings = live.events()
        fake.sessions[live.id].sockets, sockets = [], fake.sessions[live.id].sockets
        del fake.sessions[live.id]
        for ws in sockets:
            await asyncio.to_thread(fake.run, ws.close())
        with pytest.raises(farcast.SessionEnded, match="does not know"):
            async for _ in happenings:
                pass
        with pytest.raises(farcast.SessionEnded):
            await live.pause()


async def test_reconnecting_ends_after_its_timeout(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False, reconnect_timeout=0.3) as live:
        asking = asyncio.create_task(live.prompt("a green square", timeout=20))
        await asking
        fake.deaf = True
        asking = asyncio.create_task(live.prompt(BLUE, timeout=20))
        await asyncio.sleep(0.05)
        live._control._url = "ws://127.0.0.1:9/nothing"
        await asyncio.to_thread(fake.drop_sockets)
        with pytest.raises(farcast.ConnectionFailed, match="did not come back"):
            await asking


async def test_stopping_ends_the_frames_quietly(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED) as live:
        frames = live.frames()
        await frames.get()
        await live.stop()
        async with asyncio.timeout(5):
            async for _ in frames:
                pass


async def test_a_fatal_error_is_raised_to_readers(fake: Fake) -> None:
    async with farcast.connect(fake.url, prompt=RED, media=False) as live:
        happenings = live.events()
        await asyncio.to_thread(
            fake.say, '{"type":"error","code":"engine","message":"The engine is gone.","fatal":true}'
        )
        assert isinstance(await happenings.get(), events.Error)
        with pytest.raises(farcast.SessionEnded, match="engine is gone"):
            await happenings.get()
