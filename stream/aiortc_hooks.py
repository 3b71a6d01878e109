"""Everything that reaches behind aiortc's public interface (checked against 1.16), each with a test that fails when
it moves.

aiortc is used through its public interface everywhere else. What is here has no public counterpart yet:

- a track that returns encoded packets never hears of lost pictures: `RTCRtpSender._send_keyframe` is where they arrive;
- the bandwidth a viewer reports (REMB) ends in the sender's own encoder, which only packs here;
- which addresses and UDP ports ICE uses cannot be chosen, and loopback is never offered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol
from aiortc import RTCPeerConnection, RTCRtpSender

PORT_TRIES = 64  # ports of a configured range that are tried before giving up


def on_keyframe_request(sender: RTCRtpSender, callback: Callable[[], None]) -> None:
    """Call `callback` when the viewer behind `sender` has lost the picture (PLI or FIR)."""
    if not callable(getattr(sender, "_send_keyframe", None)):
        raise RuntimeError("aiortc has changed: RTCRtpSender._send_keyframe is gone")
    cast(Any, sender)._send_keyframe = callback


def reported_bitrate(sender: RTCRtpSender) -> int | None:
    """Bits per second the viewer last said it can take, as far as aiortc's own limits let it through; None = not
    yet."""
    encoder = getattr(sender, "_RTCRtpSender__encoder", None)
    return getattr(encoder, "target_bitrate", None)


@dataclass(frozen=True)
class IceAddresses:
    """Local addresses to bind, the UDP ports to use there, and what to announce instead (a server behind NAT)."""

    addresses: tuple[str, ...]
    ports: tuple[int, int] | None = None
    announce: str | None = None


def ice_connections(peer: RTCPeerConnection) -> list[Connection]:
    """The ICE agents of a peer connection that has its remote description."""
    transports = {t.sender.transport.transport for t in peer.getTransceivers()}
    if peer.sctp is not None:
        transports.add(peer.sctp.transport.transport)
    return [transport.iceGatherer._connection for transport in transports]


def offer_addresses(peer: RTCPeerConnection, ice: IceAddresses) -> None:
    """Make `peer` gather host candidates at these addresses only. To be called before setLocalDescription."""
    for connection in ice_connections(peer):
        _bind(connection, ice)


def _bind(connection: Connection, ice: IceAddresses) -> None:
    relayed = connection.get_component_candidates  # with no host address it asks the STUN and TURN servers only

    async def gather(component: int, addresses: Sequence[str], timeout: int = 5) -> list[Candidate]:
        found = [await _host_candidate(connection, component, address, ice) for address in ice.addresses]
        return [c for c in found if c is not None] + await relayed(component, [], timeout)

    cast(Any, connection).get_component_candidates = gather


async def _host_candidate(connection: Connection, component: int, address: str, ice: IceAddresses) -> Candidate | None:
    """As aioice does it, but on a port of the range; None when the address has none free."""
    loop = asyncio.get_running_loop()
    for port in _ports(ice.ports):
        try:
            _, protocol = await loop.create_datagram_endpoint(
                lambda: StunProtocol(connection), local_addr=(address, port)
            )
        except OSError:
            continue
        bound = protocol.transport.get_extra_info("sockname")
        host = ice.announce or bound[0]
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", bound[0]),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=host,
            port=bound[1],
            type="host",
        )
        connection._protocols.append(protocol)
        return protocol.local_candidate
    return None


def _ports(span: tuple[int, int] | None) -> list[int]:
    if span is None:
        return [0]
    ports = range(span[0], span[1] + 1)
    return random.sample(ports, min(PORT_TRIES, len(ports)))
