"""The usual way, to compare with: aiortc's MediaRelay, and an encoder of its own for every viewer.

A program of its own: `python -m bench.transport.media_relay_baseline WIDTH HEIGHT`. It shows the same pattern, painted
before anybody comes, and does nothing else: no sessions, no playout, no recording.
"""

from __future__ import annotations

import asyncio
import sys
import time
from fractions import Fraction

import av
import uvicorn
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamTrack
from fastapi import FastAPI, Request
from starlette.responses import Response

from stream.server import Server, listen
from stream.video.encoder import picture
from stream.video.playout import TICKS
from stream.webrtc.aiortc_hooks import IceAddresses, offer_addresses

from .pattern_model import FPS, Painter

FRAMES = 64  # painted beforehand, shown again and again


class Source(MediaStreamTrack):
    """Frames by the clock, their colours converted once for all: encoders that convert the same frame at the same time
    lock each other up (PyAV 18)."""

    kind = "video"

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        painter = Painter(width, height)
        self._frames = [painter.frame(i) for i in range(FRAMES)]
        self._began = time.monotonic()
        self._next = 0

    async def recv(self) -> av.VideoFrame:
        due = self._began + self._next / FPS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        frame = picture(self._frames[self._next % FRAMES])
        frame.pts, frame.time_base = round(self._next * TICKS / FPS), Fraction(1, TICKS)
        self._next = max(self._next + 1, int((time.monotonic() - self._began) * FPS))  # what is late is skipped
        return frame


def create_app(width: int, height: int) -> FastAPI:
    app = FastAPI()
    relay = MediaRelay()
    peers: set[RTCPeerConnection] = set()
    sources: list[Source] = []

    @app.post("/whep")
    async def whep(request: Request) -> Response:
        if not sources:
            sources.append(Source(width, height))
        peer = RTCPeerConnection()
        peers.add(peer)
        transceiver = peer.addTransceiver(relay.subscribe(sources[0], buffered=False), direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in known if c.name in ("VP8", "rtx")])
        await peer.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
        offer_addresses(peer, IceAddresses(("127.0.0.1",)))
        await peer.setLocalDescription(await peer.createAnswer())
        return Response(peer.localDescription.sdp, 201, media_type="application/sdp")

    @app.get("/lab/cpu")
    async def cpu() -> float:
        return time.process_time()

    return app


async def main(width: int, height: int) -> None:
    sock = listen("127.0.0.1", 0)
    server = Server(uvicorn.Config(create_app(width, height), log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    await server.answering.wait()
    print(f"ready: http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
