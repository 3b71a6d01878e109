"""The control socket: every message is answered, whatever it is and however many come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.support.running_server import Running, running
from tests.support.uploads import png

Message = dict[str, Any]


class Wire:
    """One control connection in a test."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.heard: list[Message] = []

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def until(self, wanted: Callable[[Message], object], seconds: float = 10.0) -> Message:
        """The next message that is `wanted`; the others are kept in `heard`."""
        async with asyncio.timeout(seconds):
            while True:
                message = json.loads(await self.socket.recv())
                self.heard.append(message)
                if wanted(message):
                    return message

    async def answer(self, re: str, *kinds: str) -> Message:
        return await self.until(lambda m: m.get("re") == re and (not kinds or m["type"] in kinds))


@asynccontextmanager
async def steering(server: Running, prompt: str = "a red circle", **more: Any) -> AsyncIterator[Wire]:
    made = await asyncio.to_thread(server.create, prompt, **more)
    try:
        async with connect(server.socket(made), additional_headers=server.headers(made)) as socket:
            wire = Wire(socket)
            first = await wire.until(lambda m: True)
            assert first["type"] == "session"
            yield wire
    finally:
        await asyncio.to_thread(server.delete, made)


@pytest.mark.slow
async def test_a_prompt_is_pending_and_then_applied_at_a_frame(server: Running) -> None:
    async with steering(server) as wire:
        await wire.until(lambda m: m["type"] == "chunk" and m["index"] >= 1)
        await wire.say(type="prompt", id="p1", text="a blue star")
        assert (await wire.answer("p1"))["type"] == "prompt_pending"
        applied = await wire.answer("p1", "prompt_applied")
        assert applied["text"] == "a blue star"
        assert applied["chunk"] >= 1
        assert applied["frame"] == 1 + 12 * (applied["chunk"] - 1)
        assert 0 < applied["latency_ms"] < 5000
        assert applied["pts"] > 0
        # The last word on that chunk: what was made before the prompt may have been made anew.
        chunk = [m for m in wire.heard if m["type"] == "chunk" and m["index"] == applied["chunk"]][-1]
        assert chunk["prompt"] == "a blue star"


@pytest.mark.slow
async def test_of_many_prompts_the_last_is_applied_and_every_one_is_answered(server: Running) -> None:
    async with steering(server) as wire:
        for i in range(150):
            await wire.say(type="prompt", id=f"p{i}", text=f"prompt {i} blue")
        last = await wire.answer("p149", "prompt_applied")
        assert last["text"] == "prompt 149 blue"
        final = {m["re"]: m["type"] for m in wire.heard if m["type"] in ("prompt_applied", "prompt_rejected")}
        assert set(final) == {f"p{i}" for i in range(150)}
        rejected = [m for m in wire.heard if m["type"] == "prompt_rejected"]
        assert {m["code"] for m in rejected} == {"superseded"}


async def test_a_dial_flood_is_answered_and_the_last_value_applies(server: Running) -> None:
    async with steering(server) as wire:
        for i in range(300):
            await wire.say(type="dial", id=f"d{i}", steps=1 + i % 4)
        await wire.say(type="dial", id="last", steps=5)
        last = await wire.answer("last")
        assert last["type"] == "dial_applied"
        assert last["dial"]["steps"] == 5
        answered = {m["re"] for m in wire.heard if m.get("re")}
        assert {f"d{i}" for i in range(300)} <= answered
        chunk = await wire.until(lambda m: m["type"] == "chunk" and m["steps"] == 5)
        assert chunk["steps"] == 5


async def test_a_prompt_the_model_refuses_is_rejected_and_the_old_one_stays(server: Running) -> None:
    async with steering(server) as wire:
        await wire.say(type="prompt", id="p", text="something forbidden")
        rejected = await wire.answer("p", "prompt_rejected")
        assert rejected["code"] == "invalid_prompt"
        chunk = await wire.until(lambda m: m["type"] == "chunk")
        assert chunk["prompt"] == "a red circle"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("[]", "bad_json"),
        ("null", "bad_json"),
        ('{"type": "dance", "id": "x"}', "unknown_type"),
        ('{"type": "dial", "id": "x", "latency_ms": 0}', "invalid"),
        ('{"type": "dial", "id": "x", "latency_ms": -5}', "invalid"),
        ('{"type": "dial", "id": "x", "latency_ms": 31536000000}', "invalid"),
        ('{"type": "dial", "id": "x", "latency_ms": NaN}', "bad_json"),
        ('{"type": "dial", "id": "x", "floor": 9, "ceiling": 2}', "invalid"),
        ('{"type": "pause"}', "invalid"),
        ('{"type": "rewind", "id": "x", "chunk": "two"}', "invalid"),
        (b"\x00\x01", "bad_json"),
    ],
)
async def test_a_message_that_makes_no_sense_is_answered_and_the_connection_stays(
    server: Running, text: str | bytes, code: str
) -> None:
    async with steering(server) as wire:
        await wire.socket.send(text)
        error = await wire.until(lambda m: m["type"] == "error")
        assert error["code"] == code
        assert error.get("fatal") is False
        await wire.say(type="ping", id="still here", t=1.5)
        assert (await wire.answer("still here"))["t"] == 1.5


async def test_an_empty_prompt_is_rejected_as_a_prompt(server: Running) -> None:
    async with steering(server) as wire:
        await wire.say(type="prompt", id="p", text="  ")
        assert (await wire.answer("p"))["type"] == "prompt_rejected"


async def test_pause_holds_the_picture_and_resume_goes_on(server: Running) -> None:
    async with steering(server) as wire:
        await wire.until(lambda m: m["type"] == "chunk" and m["index"] >= 2)
        await wire.say(type="pause", id="a")
        paused = await wire.answer("a")
        assert paused["state"] == "paused"
        await asyncio.sleep(0.6)
        await wire.say(type="pause", id="b")
        assert (await wire.answer("b"))["frame"] == paused["frame"]
        await wire.say(type="resume", id="c")
        assert (await wire.answer("c"))["state"] == "live"
        await wire.until(lambda m: m["type"] == "chunk")


async def test_rewind_goes_back_or_says_why_not(server: Running) -> None:
    async with steering(server) as wire:
        await wire.until(lambda m: m["type"] == "chunk" and m["index"] >= 3)
        await wire.say(type="rewind", id="r", chunk=1)
        back = await wire.answer("r")
        assert (back["type"], back["chunk"], back["frame"]) == ("session", 1, 1)
        again = await wire.until(lambda m: m["type"] == "chunk")
        assert again["index"] == 1
        await wire.say(type="rewind", id="s", chunk=999)
        refused = await wire.answer("s")
        assert (refused["type"], refused["code"]) == ("error", "invalid_chunk")


async def test_stop_ends_the_session_and_the_connection(server: Running) -> None:
    async with steering(server) as wire:
        await wire.say(type="prompt", id="p", text="a blue star")
        await wire.say(type="stop", id="s")
        await wire.answer("s")
        assert any(m["type"] == "session" and m["state"] == "stopped" for m in wire.heard)
        assert [m["type"] for m in wire.heard if m.get("re") == "p"] == ["prompt_pending", "prompt_rejected"]
        await asyncio.wait_for(wire.socket.wait_closed(), 5)


@pytest.mark.slow
async def test_an_image_cuts_to_a_new_shot(server: Running) -> None:
    async with steering(server) as wire:
        state = await wire.until(lambda m: m["type"] == "chunk")
        assert state
        session = next(iter(s for s in server.manager.sessions.values() if not s.over))
        answer = await asyncio.to_thread(
            httpx.post,
            f"{server.url}/v1/sessions/{session.id}/image",
            headers={"Authorization": f"Bearer {session.token}"},
            files={"image": png(colour="white")},
        )
        assert answer.status_code == 202
        applied = await wire.answer(answer.json()["re"])
        assert applied["type"] == "image_applied"


async def test_a_wrong_token_or_session_is_told_before_the_door_closes(server: Running) -> None:
    for path in ("nothing/control",):
        async with connect(f"ws{server.url[4:]}/v1/sessions/{path}") as socket:
            error = json.loads(await socket.recv())
            assert error["code"] == "no_session"
            assert error["fatal"] is True
            await asyncio.wait_for(socket.wait_closed(), 5)
            assert socket.close_code == 1008


async def test_a_message_over_the_limit_ends_that_connection_only(server: Running) -> None:
    async with steering(server) as wire:
        await wire.socket.send("x" * 100_000)
        await asyncio.wait_for(wire.socket.wait_closed(), 5)
        assert wire.socket.close_code == 1009
    async with steering(server) as wire:
        await wire.say(type="ping", id="1", t=0)
        await wire.answer("1")


@pytest.mark.slow
async def test_two_people_steer_one_session_and_each_gets_their_own_answers(server: Running) -> None:
    made = await asyncio.to_thread(server.create)
    url, headers = server.socket(made), server.headers(made)
    async with connect(url, additional_headers=headers) as one, connect(url, additional_headers=headers) as two:
        first, second = Wire(one), Wire(two)
        await first.say(type="prompt", id="same", text="a green square")
        await first.answer("same", "prompt_applied")
        await second.say(type="ping", id="end", t=0)
        await second.answer("end")
        assert not [m for m in second.heard if m.get("re") == "same"]
        assert [m for m in second.heard if m["type"] == "chunk"]
    await asyncio.to_thread(server.delete, made)


@pytest.mark.slow
async def test_a_session_that_explodes_fails_alone() -> None:
    with running() as server:
        async with steering(server) as good, steering(server) as bad:
            await bad.say(type="prompt", id="p", text="explode")
            error = await bad.until(lambda m: m["type"] == "error")
            assert error["fatal"] is True
            assert "Traceback" not in error["message"]
            assert [m["type"] for m in bad.heard if m.get("re") == "p"] == ["prompt_pending", "prompt_rejected"]
            index = (await good.until(lambda m: m["type"] == "chunk"))["index"]
            await good.until(lambda m: m["type"] == "chunk" and m["index"] > index)


@pytest.mark.slow
async def test_after_an_engine_crash_the_sessions_go_on_from_their_last_chunk() -> None:
    with running() as server:
        async with steering(server) as good, steering(server) as bad:
            before = (await good.until(lambda m: m["type"] == "chunk" and m["index"] >= 3))["index"]
            await bad.say(type="prompt", id="p", text="die at once")
            recovering = await good.until(lambda m: m["type"] == "session" and m["state"] == "recovering")
            assert recovering["reason"]
            await good.until(lambda m: m["type"] == "session" and m["state"] == "live", 20)
            made = [m["index"] for m in good.heard if m["type"] == "chunk"]
            after = await good.until(lambda m: m["type"] == "chunk")
            assert after["index"] <= max(made) + 1
            assert after["index"] >= before, "not from the beginning"
            await good.say(type="prompt", id="q", text="a white square")
            await good.answer("q", "prompt_applied")
            failed = await bad.until(lambda m: m["type"] == "error")
            assert (failed["code"], failed["fatal"]) == ("engine_failed", True)
