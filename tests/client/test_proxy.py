"""The client behind a proxy: a path prefix, a password, headers of one's own, a DELETE that is refused."""

from __future__ import annotations

import asyncio

import farcast
import pytest

from tests.support.faults import FaultyServer
from tests.support.proxy import proxy


async def test_a_prefix_and_a_password(server: FaultyServer) -> None:
    with proxy(server.url, prefix="/video", password=("anna", "secret")) as before:
        async with farcast.connect(before.url, prompt="a red circle", auth=("anna", "secret")) as live:
            async for frame in live.frames():
                assert frame.image.shape == (64, 96, 3)
                break
            assert (await live.prompt("a blue star")).text == "a blue star"
            assert (await live.score())["seed"] == live.session.seed
        assert all(line.split()[1].startswith("/video/v1/") for line in before.seen)
    assert server.sessions == {}


async def test_a_wrong_password_is_refused(server: FaultyServer) -> None:
    with proxy(server.url, password=("anna", "secret")) as before, pytest.raises(farcast.RequestRefused, match="401"):
        async with farcast.connect(before.url, prompt="a red circle", auth=("anna", "wrong")):
            pass


async def test_headers_go_with_every_request_and_the_socket(server: FaultyServer) -> None:
    headers = {"Authorization": "Basic YW5uYTpzZWNyZXQ="}
    with proxy(server.url, password=("anna", "secret")) as before:
        async with farcast.connect(before.url, prompt="a red circle", media=False, headers=headers) as live:
            assert await live.ping() < 5


async def test_a_session_whose_delete_is_refused_is_ended_all_the_same(server: FaultyServer) -> None:
    with proxy(server.url, refused=("DELETE",)) as before:
        async with farcast.connect(before.url, prompt="a red circle", media=False) as live:
            await live.ping()
        assert any(line.startswith("DELETE") for line in before.seen)
    for _ in range(50):
        if not server.sessions:
            break
        await asyncio.sleep(0.05)
    assert server.sessions == {}
