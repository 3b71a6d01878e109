"""Many viewers that count frames and do not look: a process of its own, so that their cost is not the server's.

`python -m bench.transport.load_clients_worker URL TOKEN` reads one command a line, answers each with a line of JSON:
`more N` adds viewers until there are N, `counts` says how many frames each has got, `cycle` connects one, waits for its
first frame and goes; `bye N` lets viewers go until there are N.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import aiortc.rtcrtpreceiver
import httpx
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.base import Decoder
from aiortc.jitterbuffer import JitterFrame

from stream.webrtc.aiortc_hooks import IceAddresses, offer_addresses

CONNECT_S = 60.0


class Watcher:
    """One viewer."""

    def __init__(self) -> None:
        self.frames = 0
        self.first = asyncio.Event()
        self.peer = RTCPeerConnection()
        self.location = ""
        self._loop = asyncio.get_running_loop()

    async def watch(self, http: httpx.AsyncClient, url: str) -> float:
        """Returns seconds until the first frame has come."""
        began = time.monotonic()
        self.peer.addTransceiver("video", direction="recvonly")
        offer_addresses(self.peer, IceAddresses(("127.0.0.1",)))
        await self.peer.setLocalDescription(await self.peer.createOffer())
        offer = self.peer.localDescription.sdp
        reply = await http.post(url, content=offer, headers={"Content-Type": "application/sdp"})
        reply.raise_for_status()
        self.location = reply.headers.get("location", "")
        Counting.owner = self  # the decoder that is made now is this viewer's
        await self.peer.setRemoteDescription(RTCSessionDescription(reply.text, "answer"))
        await asyncio.wait_for(self.first.wait(), CONNECT_S)
        return time.monotonic() - began

    def count(self) -> None:
        """On the decoder's thread."""
        self.frames += 1
        if self.frames == 1:
            self._loop.call_soon_threadsafe(self.first.set)

    async def leave(self, http: httpx.AsyncClient, url: str) -> None:
        if self.location:
            await http.delete(str(httpx.URL(url).join(self.location)))
        await self.peer.close()


class Counting(Decoder):
    """Decodes nothing. Made with a viewer's first frame, on its thread; viewers connect one after the other."""

    owner: Watcher

    def __init__(self) -> None:
        self._watcher = self.owner

    def decode(self, encoded_frame: JitterFrame) -> list[Any]:
        self._watcher.count()
        return []


async def run(url: str, token: str) -> None:
    # Only in this process, where nobody looks at the picture.
    vars(aiortc.rtcrtpreceiver)["get_decoder"] = lambda codec: Counting()
    watchers: list[Watcher] = []
    loop = asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(timeout=60, headers=headers) as http:
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            answer: Any = None
            if line[0] == "more":
                answer = []
                while len(watchers) < int(line[1]):
                    watchers.append(Watcher())
                    answer.append(await watchers[-1].watch(http, url))
            elif line[0] == "bye":
                while len(watchers) > int(line[1]):
                    await watchers.pop().leave(http, url)
            elif line[0] == "cycle":
                watcher = Watcher()
                answer = await watcher.watch(http, url)
                await watcher.leave(http, url)
            elif line[0] == "counts":
                answer = [watcher.frames for watcher in watchers]
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2]))
