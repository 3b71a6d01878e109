"""A network in bad shape between one viewer and the server: loss, delay, a bottleneck, an outage.

A UDP relay: the viewer is given its address in place of the server's, and its own addresses are kept from the server,
so that there is no other way. Both directions lose and wait; the bottleneck is on the way to the viewer, where the
video is: a token bucket in front of a queue that drops what does not fit, as tbf in a router.
"""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from typing import cast

CANDIDATE = re.compile(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ host.*", re.IGNORECASE)


@dataclass(frozen=True)
class Trouble:
    """`loss`: share of packets, each way; `delay`: seconds, each way; `rate`: bits per second to the viewer; `queue`:
    seconds that the bottleneck holds; `down`: nothing gets through."""

    loss: float = 0.0
    delay: float = 0.0
    rate: float | None = None
    queue: float = 0.2
    down: bool = False


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, network: Network, outward: bool) -> None:
        self.network, self.outward = network, outward
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.outward:  # from the viewer
            self.network.viewer = addr
        self.network.carry(data, to_viewer=not self.outward)

    def error_received(self, exc: Exception) -> None:
        """The other side has closed its port; ICE will notice."""


class Network:
    """Between one viewer and the server. `trouble` may be changed at any time."""

    def __init__(self, seed: int = 0) -> None:
        self.trouble = Trouble()
        self.viewer: tuple[str, int] | None = None
        self.passed = self.lost = 0
        self._random = random.Random(seed)
        self._free_at = 0.0  # clock time at which the bottleneck has sent what it holds
        self._near: _Socket
        self._far: _Socket

    async def between(self, answer: str) -> str:
        """The server's SDP answer as the viewer is to get it."""
        match = next((m for m in CANDIDATE.finditer(answer) if ":" not in m.group(1)), None)
        if match is None:
            raise ValueError("the answer has no host candidate")
        loop = asyncio.get_running_loop()
        server = (match.group(1), int(match.group(2)))
        _, self._far = await loop.create_datagram_endpoint(lambda: _Socket(self, False), remote_addr=server)
        _, self._near = await loop.create_datagram_endpoint(lambda: _Socket(self, True), local_addr=("127.0.0.1", 0))
        port = self._near.transport.get_extra_info("sockname")[1]
        mine = f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host"
        return without_candidates(answer).replace("a=ice-ufrag", f"{mine}\r\na=ice-ufrag", 1)

    def carry(self, data: bytes, *, to_viewer: bool) -> None:
        trouble = self.trouble
        if trouble.down or self._random.random() < trouble.loss:
            self.lost += 1
            return
        wait = trouble.delay
        if trouble.rate is not None and to_viewer:
            now = asyncio.get_running_loop().time()
            leaves = max(now, self._free_at) + 8 * len(data) / trouble.rate
            if leaves - now > trouble.queue:
                self.lost += 1
                return
            self._free_at = leaves
            wait += leaves - now
        if wait > 0:
            asyncio.get_running_loop().call_later(wait, self._send, data, to_viewer)
        else:
            self._send(data, to_viewer)

    def _send(self, data: bytes, to_viewer: bool) -> None:
        self.passed += 1
        if not to_viewer:
            self._far.transport.sendto(data)
        elif self.viewer is not None:
            self._near.transport.sendto(data, self.viewer)

    def close(self) -> None:
        for end in (getattr(self, "_near", None), getattr(self, "_far", None)):
            if end is not None:
                end.transport.close()


def without_candidates(sdp: str) -> str:
    """So that the other side cannot go round the relay."""
    return "".join(f"{line}\r\n" for line in sdp.splitlines() if not line.startswith("a=candidate"))
