"""Players that are not ours watch a session: whip-whep, by the author of the WHEP draft, on libwebrtc for Node."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.players import INSTALLED, of, watch
from tests.support.running_server import Running, wait_for
from tests.support.timing import slack
from tests.support.whep_peer import watching

pytestmark = pytest.mark.skipif(
    not INSTALLED, reason="npm's whip-whep and @roamhq/wrtc are not installed: run requirements/players.sh"
)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("audio",)])
def test_it_sees_the_picture_in_its_colour_and_leaves(server: Running, options: tuple[str, ...]) -> None:
    made = server.create()
    session = server.manager.sessions[made["id"]]
    lines = watch(server.url + made["urls"]["whep"], made["token"], 4, *options)
    frames = of(lines, "frame")
    assert len(frames) > 16, lines
    assert (frames[-1]["width"], frames[-1]["height"]) == (64, 64)
    assert max(abs(a - b) for a, b in zip(frames[-1]["rgb"], (220, 30, 30), strict=True)) < 30
    assert of(lines, "rejection") == [], "every request of the player was answered as it expects"
    wait_for(lambda: session.viewers == 0, 5 * slack())
    assert "leaving failed" not in {line["event"] for line in lines}
    server.delete(made)


@pytest.mark.slow
def test_an_ice_restart_is_refused_and_the_picture_goes_on(server: Running) -> None:
    made = server.create()
    lines = watch(server.url + made["urls"]["whep"], made["token"], 4, "restart")
    (refused,) = of(lines, "restart refused")
    assert "422" in refused["message"]
    after = [line for line in of(lines, "frame") if line["at"] > refused["at"] + 300]
    assert len(after) > 8, "what was there goes on until there is something new"
    server.delete(made)


def test_a_wrong_token_is_told(server: Running) -> None:
    made = server.create()
    (refused,) = of(watch(server.url + made["urls"]["whep"], "wrong", 1), "refused")
    assert "401" in refused["message"]
    server.delete(made)


@pytest.mark.slow
async def test_two_makers_watch_the_same_take(server: Running) -> None:
    made = await asyncio.to_thread(server.create)
    async with watching(server, made) as ours:
        theirs = asyncio.create_task(asyncio.to_thread(watch, server.url + made["urls"]["whep"], made["view_token"], 3))
        await ours.colour((220, 30, 30))
        assert len(of(await theirs, "frame")) > 8
        await ours.frame()
    await asyncio.to_thread(server.delete, made)
