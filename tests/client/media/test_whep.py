"""The WHEP player's corners: where it reaches into aiortc, ICE servers from Link headers, recording, silence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import av
import farcast
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection
from farcast.media import whep

from tests.support.faults import FaultyServer


async def test_loopback_is_offered() -> None:
    """Fails when a new aiortc moves what `_offer_loopback` reaches for."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    whep._offer_loopback(peer.addTransceiver("video", direction="recvonly"))
    await peer.setLocalDescription(await peer.createOffer())
    assert " 127.0.0.1 " in peer.localDescription.sdp
    await peer.close()


def test_ice_servers_from_link_headers() -> None:
    links = [
        '<stun:stun.example.net>; rel="ice-server"',
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="1:u"; credential="c+/=="; '
        'credential-type="password"',
        "</docs>; rel=help",
    ]
    servers = whep.ice_servers(links)
    assert [server.urls for server in servers] == ["stun:stun.example.net", "turn:turn.example.net?transport=udp"]
    assert (servers[1].username, servers[1].credential) == ("1:u", "c+/==")
    assert len(whep.ice_servers([", ".join(links)])) == 2, "one header may carry them all"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000/x", True),
        ("http://[::1]/", True),
        ("http://localhost/", True),
        ("http://example.net/", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, local: bool) -> None:
    assert whep._is_loopback(url) is local


async def test_save_writes_what_was_shown(server: FaultyServer, tmp_path: Path) -> None:
    async with farcast.connect(server.url, prompt="a red circle") as live:
        recorder = await live.record_for(tmp_path / "out.mp4", seconds=1.0)
    with av.open(str(tmp_path / "out.mp4")) as file:
        pictures = [picture.to_ndarray(format="rgb24") for picture in file.decode(video=0)]
    assert len(pictures) == recorder.frames >= 10
    red, green, blue = pictures[-1].reshape(-1, 3).mean(0)
    assert red > 180
    assert max(green, blue) < 70


async def test_an_unusable_answer_is_a_media_error(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def garbage(self: whep.Player, peer: RTCPeerConnection) -> str | None:
        raise farcast.MediaFailed("The server's SDP answer cannot be used: no.")

    monkeypatch.setattr(whep.Player, "_exchange", garbage)
    async with farcast.connect(server.url, prompt="a red circle", reconnect_timeout=0.2) as live:
        with pytest.raises(farcast.MediaFailed, match=r"No video within 0\.2 s: .*cannot be used"):
            await live.frames().get()


@pytest.mark.slow
async def test_a_paused_session_is_not_silence(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whep, "_SILENCE_S", 0.8)
    async with farcast.connect(server.url, prompt="a red circle") as live:
        frames = live.frames()
        await frames.get()
        await live.pause()
        await live.ping()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                while True:
                    await frames.get()
        await live.resume()
        await frames.get()
        stats = await live.stats()
        assert stats.media is not None
        assert stats.media.reconnects == 0
