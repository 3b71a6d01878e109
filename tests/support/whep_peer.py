"""A WHEP viewer for tests: an aiortc peer that offers to receive video from a running server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import av
import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription

from stream.webrtc.aiortc_hooks import IceAddresses, offer_addresses
from tests.support.running_server import Running

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class Peer:
    """A viewer in a test: an aiortc peer that offers to receive video."""

    def __init__(self, codec: str | None = None) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.transceiver = self.peer.addTransceiver("video", direction="recvonly")
        if codec is not None:
            known = RTCRtpReceiver.getCapabilities("video").codecs
            self.transceiver.setCodecPreferences([c for c in known if c.name in (codec, "rtx")])
        self.location = ""

    async def offer(self, *, trickle: bool = False) -> str:
        offer_addresses(self.peer, IceAddresses(("127.0.0.1",)))
        await self.peer.setLocalDescription(await self.peer.createOffer())
        sdp: str = self.peer.localDescription.sdp
        if trickle:
            sdp = "".join(line + "\r\n" for line in sdp.splitlines() if "candidate" not in line)
        return sdp

    async def take(self, answer: httpx.Response) -> None:
        assert answer.status_code == 201, answer.text
        self.location = answer.headers["location"]
        await self.peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    async def frame(self, seconds: float = 10.0) -> av.VideoFrame:
        async with asyncio.timeout(seconds):
            frame = await self.transceiver.receiver.track.recv()
        assert isinstance(frame, av.VideoFrame)
        return frame

    async def colour(self, wanted: tuple[int, int, int], seconds: float = 10.0) -> None:
        """Until the picture has this colour."""
        async with asyncio.timeout(seconds):
            while True:
                pixel = (await self.frame()).to_ndarray(format="rgb24")[5, 5].astype(int)
                if np.abs(pixel - wanted).max() < 30:
                    return


@asynccontextmanager
async def watching(server: Running, made: dict[str, Any], codec: str | None = None) -> AsyncIterator[Peer]:
    peer = Peer(codec)
    async with httpx.AsyncClient(base_url=server.url, timeout=10) as http:
        try:
            offer = await peer.offer()
            headers = {**SDP, **server.headers(made)}
            await peer.take(await http.post(made["urls"]["whep"], content=offer, headers=headers))
            yield peer
        finally:
            await peer.peer.close()
            if peer.location:
                await http.delete(peer.location)
