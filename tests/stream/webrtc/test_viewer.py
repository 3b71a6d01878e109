"""Watching: a real WebRTC peer over loopback gets the picture, and a wrong one is refused and harmless."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from tests.support.running_server import Running, running, wait_for
from tests.support.whep_peer import FRAGMENT, SDP, Peer, watching


@pytest.fixture
async def made(server: Running) -> AsyncIterator[dict[str, Any]]:
    created = await asyncio.to_thread(server.create)
    yield created
    await asyncio.to_thread(server.delete, created)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_viewer_sees_the_colour_that_was_asked_for(server: Running, made: dict[str, Any], codec: str) -> None:
    async with watching(server, made, codec) as peer:
        frame = await peer.frame()
        assert (frame.width, frame.height) == (64, 64)
        await peer.colour((220, 30, 30))


@pytest.mark.slow
async def test_frames_are_spaced_as_the_model_made_them(server: Running, made: dict[str, Any]) -> None:
    async with watching(server, made) as peer:
        await peer.frame()
        stamps = [(await peer.frame()).pts for _ in range(20)]
        gaps = [b - a for a, b in pairwise(stamps) if a is not None and b is not None]
        assert sorted(gaps)[len(gaps) // 2] == 5625


async def test_viewers_share_one_encoder_and_a_late_one_gets_a_keyframe(server: Running, made: dict[str, Any]) -> None:
    session = server.manager.sessions[made["id"]]
    async with watching(server, made) as first:
        await first.colour((220, 30, 30))
        async with watching(server, made) as second, watching(server, made) as third:
            await second.colour((220, 30, 30))
            await third.colour((220, 30, 30))
            assert [key for key in session.broadcast.encodings if key[0] == "VP8"] == [("VP8", "full")]
            assert session.viewers == 3
            encoded, shown = session.broadcast.counters.frames, session.playout.consumed
            assert encoded <= 2 * shown + 10, "one encoding a frame and one for the recording, however many watch"
        wait_for(lambda: session.viewers == 1, 5)


async def test_a_viewer_that_leaves_is_gone_at_once(server: Running, made: dict[str, Any]) -> None:
    session = server.manager.sessions[made["id"]]
    async with watching(server, made) as peer:
        await peer.frame()
        answer = await asyncio.to_thread(httpx.delete, server.url + peer.location)
        assert answer.status_code == 200
        assert session.viewers == 0
        gone = await asyncio.to_thread(httpx.delete, server.url + peer.location)
        assert gone.json()["code"] == "no_viewer"
        peer.location = ""


async def test_candidates_may_trickle_in_and_an_ice_restart_is_refused(server: Running, made: dict[str, Any]) -> None:
    peer = Peer()
    full = None
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as http:
        try:
            headers = {**SDP, **server.headers(made)}
            sdp = await peer.offer(trickle=True)
            full = peer.peer.localDescription.sdp
            answer = await http.post(made["urls"]["whep"], content=sdp, headers=headers)
            assert answer.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
            assert answer.headers["etag"].startswith('"')
            await peer.take(answer)
            candidates = [line for line in full.splitlines() if line.startswith("a=candidate")]
            fragment = "a=mid:0\r\n" + "\r\n".join(candidates) + "\r\na=end-of-candidates\r\n"
            patch = await http.patch(peer.location, content=fragment, headers=FRAGMENT)
            assert patch.status_code == 204
            await peer.frame()
            restart = "a=ice-ufrag:zzzz\r\na=ice-pwd:zzzzzzzzzzzzzzzzzzzzzz\r\n"
            refused = await http.patch(peer.location, content=restart, headers=FRAGMENT)
            assert (refused.status_code, refused.json()["code"]) == (422, "ice_restart")
            await peer.frame()
            wrong = await http.patch(peer.location, content="a=candidate:nonsense", headers=FRAGMENT)
            assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_sdp")
            many = "a=mid:0\r\n" + "\r\n".join(candidates * 100)
            assert (await http.patch(peer.location, content=many, headers=FRAGMENT)).status_code == 400
            assert (await http.patch(peer.location, content=fragment, headers=SDP)).status_code == 415
            await http.delete(peer.location)
        finally:
            await peer.peer.close()


async def offers() -> dict[str, tuple[str, int, str]]:
    """Offers that cannot work: (body, status, code)."""
    whole = Peer()
    sdp = await whole.offer()
    await whole.peer.close()
    audio = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    audio.addTransceiver("audio", direction="recvonly")
    await audio.setLocalDescription(await audio.createOffer())
    sound = audio.localDescription.sdp
    await audio.close()
    candidate = next(line for line in sdp.splitlines() if line.startswith("a=candidate"))
    return {
        "garbage": ("hello there", 400, "no_video"),
        "empty": ("", 400, "no_video"),
        "binary": ("v=0\r\no=\x00\x01", 400, "no_video"),
        "half": (sdp[: len(sdp) // 2], 400, ""),
        "no video": (sound, 400, "no_video"),
        "sends instead of receiving": (sdp.replace("recvonly", "sendonly"), 400, "no_video"),
        "unknown codecs": (sdp.replace("VP8", "XYZ").replace("H264", "ZYX"), 406, "no_codec"),
        "no fingerprint": ("".join(x + "\r\n" for x in sdp.splitlines() if "fingerprint" not in x), 400, "bad_sdp"),
        "10000 candidates": (sdp.replace(candidate, "\r\n".join([candidate] * 10_000)), 413, "too_large"),
        "1000 candidates": (sdp.replace(candidate, "\r\n".join([candidate] * 500)), 400, "too_many_candidates"),
    }


async def test_offers_that_cannot_work_are_refused_and_leave_nothing_behind(
    server: Running, made: dict[str, Any]
) -> None:
    url = made["urls"]["whep"]
    headers = {**SDP, **server.headers(made)}
    before = len(asyncio.all_tasks(server.loop))
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as http:
        for name, (body, status, code) in (await offers()).items():
            answer = await http.post(url, content=body.encode(), headers=headers)
            assert answer.status_code == status, (name, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert code in ("", answer.json()["code"]), (name, answer.text)
        plain = {**headers, "Content-Type": "text/plain"}
        assert (await http.post(url, content="v=0", headers=plain)).status_code == 415
        picky = {**headers, "Accept": "image/png"}
        assert (await http.post(url, content="v=0", headers=picky)).status_code == 406
        assert (await http.post(url, content="v=0", headers=SDP)).status_code == 401
        assert (await http.post("/v1/sessions/none/whep?token=x", content="v=0", headers=SDP)).status_code == 404
        options = await http.options(url)
        assert (options.status_code, options.headers["accept-post"]) == (200, "application/sdp")
    wait_for(lambda: len(asyncio.all_tasks(server.loop)) <= before + 2, 10, "tasks left behind")
    assert server.app.state.viewers == {} or all(v.session.id != made["id"] for v in server.app.state.viewers.values())


@pytest.mark.slow
async def test_a_peer_that_never_connects_and_one_that_falls_silent_are_dropped() -> None:
    with running(connect_timeout=1.0, silence_timeout=2.0) as server:
        made = await asyncio.to_thread(server.create)
        session = server.manager.sessions[made["id"]]
        shy = Peer()
        async with httpx.AsyncClient(base_url=server.url, timeout=10) as http:
            headers = {**SDP, **server.headers(made)}
            answer = await http.post(made["urls"]["whep"], content=await shy.offer(trickle=True), headers=headers)
            assert answer.status_code == 201
            await shy.peer.close()
            viewers = server.app.state.viewers
            await asyncio.to_thread(wait_for, lambda: all(v.closed.is_set() for v in viewers.values()), 10)
        async with watching(server, made) as peer:
            await peer.frame()
            # Cut the wire without a word: nothing this peer sends arrives any more.
            for transport in {t.receiver.transport.transport for t in peer.peer.getTransceivers()}:
                for protocol in transport.iceGatherer._connection._protocols:
                    protocol.transport.sendto = lambda *args: None
            await asyncio.to_thread(wait_for, lambda: session.viewers == 0, 8, "the silence is not noticed")


@pytest.mark.slow
async def test_a_session_nobody_watches_pauses_and_a_viewer_wakes_it() -> None:
    with running(viewer_grace=0.5, idle_lifetime=60) as server:
        made = await asyncio.to_thread(server.create)
        session = server.manager.sessions[made["id"]]
        await asyncio.to_thread(wait_for, lambda: session.state == "paused", 10)
        frame = session.frame
        await asyncio.sleep(0.3)
        assert session.frame == frame
        async with watching(server, made) as peer:
            await peer.frame()
            await asyncio.to_thread(wait_for, lambda: session.state == "live" and session.frame > frame + 5, 10)


@pytest.mark.slow
async def test_a_session_left_alone_is_deleted() -> None:
    with running(viewer_grace=0.2, idle_lifetime=1.0, tombstone=0.5) as server:
        made = await asyncio.to_thread(server.create)
        session = server.manager.sessions[made["id"]]
        await asyncio.to_thread(wait_for, lambda: session.state == "stopped", 10)
        await asyncio.to_thread(wait_for, lambda: made["id"] not in server.manager.sessions, 10)


async def test_the_picture_stands_for_a_viewer_of_a_paused_session(server: Running, made: dict[str, Any]) -> None:
    session = server.manager.sessions[made["id"]]
    await asyncio.to_thread(wait_for, lambda: session.frame > 3, 10)
    server.loop.call_soon_threadsafe(session.pause)
    await asyncio.to_thread(wait_for, lambda: session.state == "paused", 5)
    async with watching(server, made) as peer:
        await peer.colour((220, 30, 30))
        assert session.state == "paused", "a pause somebody asked for stays"
