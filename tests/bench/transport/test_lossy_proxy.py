"""The lossy UDP proxy, and the summary of what viewers behind it saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.transport.browser_viewer import Sight
from bench.transport.impairments import recovery, summary
from bench.transport.lossy_proxy import Network, Trouble

ANSWER = (
    "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=candidate:1 1 udp 1 127.0.0.1 {port} typ host\r\n"
    "a=candidate:2 1 udp 1 192.0.2.9 5000 typ host\r\na=ice-ufrag:x\r\na=end-of-candidates\r\n"
)


class Server(asyncio.DatagramProtocol):
    """Sends back what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)  # type: ignore[attr-defined]


class Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[tuple[float, int]] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append((time.monotonic(), int(data[:8])))


@asynccontextmanager
async def echo(trouble: Trouble) -> AsyncIterator[tuple[Client, asyncio.DatagramTransport, Network]]:
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    network = Network()
    answer = await network.between(ANSWER.format(port=server.get_extra_info("sockname")[1]))
    assert answer.count("a=candidate") == 1
    port = int(answer.partition("127.0.0.1 ")[2].split()[0])
    transport, client = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", port))
    network.trouble = trouble
    try:
        yield client, transport, network
    finally:
        for end in (transport, server, network):
            end.close()


async def send(transport: asyncio.DatagramTransport, count: int, size: int = 8, wait: float = 0.0) -> None:
    for i in range(count):
        transport.sendto(b"%08d" % i + bytes(size - 8))
        await asyncio.sleep(wait)
    await asyncio.sleep(0.1)


async def test_it_carries_everything_both_ways_when_all_is_well() -> None:
    async with echo(Trouble()) as (client, transport, _):
        await send(transport, 50)
        assert [number for _, number in client.got] == list(range(50))


async def test_it_loses_its_share_each_way() -> None:
    async with echo(Trouble(loss=0.2)) as (client, transport, network):
        await send(transport, 1000)
        assert len(client.got) == pytest.approx(640, abs=60)
        assert network.lost + network.passed >= 1000


async def test_it_delays_each_way_and_keeps_the_order() -> None:
    async with echo(Trouble(delay=0.05)) as (client, transport, _):
        began = time.monotonic()
        await send(transport, 20, wait=0.001)
        await asyncio.sleep(0.2)
        assert client.got[0][0] - began >= 0.1
        assert [number for _, number in client.got] == list(range(20))


async def test_the_bottleneck_lets_its_rate_through_and_drops_what_its_queue_cannot_hold() -> None:
    async with echo(Trouble(rate=800_000, queue=0.1)) as (client, transport, network):
        await send(transport, 40, size=1000)  # 40 kB at once; the queue holds 10 kB
        await asyncio.sleep(0.2)
        assert 9 <= len(client.got) <= 12
        assert network.lost == 40 - len(client.got)
        assert client.got[-1][0] - client.got[0][0] == pytest.approx(0.09, abs=0.06)


async def test_nothing_comes_through_an_outage() -> None:
    async with echo(Trouble(down=True)) as (client, transport, network):
        await send(transport, 5)
        assert client.got == []
        network.trouble = Trouble()
        await send(transport, 5)
        assert len(client.got) == 5


def test_what_was_seen_is_summed_up() -> None:
    left = {i: 100 + i / 16 for i in range(64)}
    sight = Sight([(i, left[i] + 0.05) for i in range(64) if not 20 <= i < 36])
    found = summary(sight, left, 100.0, 104.1)
    assert found["frames_percent"] == 75.0
    assert found["freezes"] == 1
    assert found["longest_gap_ms"] == 1062
    assert found["latency_ms_median"] == 50
    assert recovery(sight, left, 102.0) == pytest.approx(0.3)  # the first one after the gap, and its way
