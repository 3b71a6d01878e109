"""Everything that reaches behind aiortc's public interface (checked against 1.16), each with a test that fails when
it moves.

aiortc is used through its public interface everywhere else. What is here has no public counterpart yet:

- a track that returns encoded packets never learns of lost pictures; they arrive at `RTCRtpSender._send_keyframe`;
- what a viewer reports arrives at `RTCRtpSender._handle_rtcp_packet`; the sender keeps of it only what an encoder of
  its own would need;
- it sends lost packets again as often as it is asked (`RTCRtpSender._retransmit`);
- it sends the packets of a frame in one go, through `RTCDtlsTransport._send_rtp`;
- that a viewer is alive shows in its ICE checks too, which end in aioice;
- no RTP header extension can be added from outside, such as the hint to play without delay;
- which addresses and UDP ports ICE uses cannot be chosen, and loopback is never offered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol, server_reflexive_candidate
from aiortc import RTCPeerConnection, RTCRtpSender
from aiortc.rtp import (
    RTCP_PSFB_APP,
    HeaderExtensions,
    HeaderExtensionsMap,
    RtcpPsfbPacket,
    RtcpRrPacket,
    RtcpSrPacket,
    pack_header_extensions,
    unpack_header_extensions,
    unpack_remb_fci,
)

PORT_TRIES = 64  # ports of a configured range that are tried before giving up
STUN_WAIT = 1.0  # seconds for a STUN server to say how this host looks from outside; the answer waits for it
TURN_WAIT = 3  # and for a TURN server to give a relay
CLOCK = 90_000  # RTP ticks a second


def on_keyframe_request(sender: RTCRtpSender, callback: Callable[[], None]) -> None:
    """Call `callback` when the viewer behind `sender` has lost the picture (PLI or FIR)."""
    if not callable(getattr(sender, "_send_keyframe", None)):
        raise RuntimeError("aiortc has changed: RTCRtpSender._send_keyframe is gone")
    cast(Any, sender)._send_keyframe = callback


@dataclass(frozen=True)
class Report:
    """What one receiver report says: highest sequence number seen, packets lost so far, jitter in seconds."""

    highest: int
    lost: int
    jitter: float


def on_feedback(
    sender: RTCRtpSender,
    *,
    received: Callable[[], None],
    report: Callable[[Report], None],
    estimate: Callable[[int], None],
) -> None:
    """`received`: any RTCP came for this sender; `report`: a receiver report; `estimate`: bits per second that the
    viewer believes it can take (REMB), however few."""
    original = sender._handle_rtcp_packet

    async def handle(packet: Any) -> None:
        received()
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for block in packet.reports:
                if block.ssrc == sender._ssrc:
                    report(Report(block.highest_sequence, block.packets_lost, block.jitter / CLOCK))
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            try:
                rate, sources = unpack_remb_fci(packet.fci)
            except ValueError:
                return
            if sender._ssrc in sources:
                estimate(rate)
        await original(packet)

    cast(Any, sender)._handle_rtcp_packet = handle


def pace(sender: RTCRtpSender, wait: Callable[[int], float]) -> None:
    """Before each packet of this many bytes, wait for so many seconds: a keyframe sent all at once overflows the queue
    of a slow link. aiortc sends a frame's packets in one go."""
    transport = sender.transport
    original = transport._send_rtp

    async def send(data: bytes) -> None:
        if (seconds := wait(len(data))) > 0:
            await asyncio.sleep(seconds)
        await original(data)

    cast(Any, transport)._send_rtp = send


def limit_resends(sender: RTCRtpSender, allow: Callable[[int], bool]) -> None:
    """Send a lost packet again (NACK) only where `allow`, asked with its sequence number, says so."""
    original = sender._retransmit

    async def resend(sequence_number: int) -> None:
        if allow(sequence_number):
            await original(sequence_number)

    cast(Any, sender)._retransmit = resend


def on_ice_check(peer: RTCPeerConnection, callback: Callable[[], None]) -> None:
    """Call `callback` for every connectivity check that the viewer sends and signs. To be called once the remote
    description is set."""
    for connection in ice_connections(peer):
        _watch_checks(connection, callback)


def _watch_checks(connection: Connection, callback: Callable[[], None]) -> None:
    original = connection.check_incoming

    def check(*arguments: Any) -> None:
        callback()
        original(*arguments)

    cast(Any, connection).check_incoming = check


class _WithPlayoutDelay(HeaderExtensionsMap):
    """Adds the playout-delay extension to every packet: 12 bits each for the least and the most, in 10 ms."""

    def __init__(self, extension: int, least: float, most: float) -> None:
        super().__init__()
        self._added = (extension, ((round(least * 100) << 12) | round(most * 100)).to_bytes(3, "big"))

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        return pack_header_extensions([*unpack_header_extensions(*super().set(values)), self._added])


def hint_playout_delay(sender: RTCRtpSender, extension: int, least: float, most: float) -> None:
    """Tell a libwebrtc viewer how long it may hold a frame back, in seconds. To be called before anything is sent;
    `extension` is the id that the answer gives to it."""
    name = "_RTCRtpSender__rtp_header_extensions_map"
    if not isinstance(getattr(sender, name, None), HeaderExtensionsMap):
        raise RuntimeError("aiortc has changed: RTCRtpSender's map of header extensions is gone")
    setattr(sender, name, _WithPlayoutDelay(extension, least, most))


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
    relayed = connection.get_component_candidates  # with no host address it asks the TURN server only

    async def gather(component: int, addresses: Sequence[str], timeout: int = 5) -> list[Candidate]:
        found = [await _host_candidate(connection, component, address, ice) for address in ice.addresses]
        outside = [_reflexive(connection, protocol) for protocol in list(connection._protocols)]
        more = await asyncio.gather(*outside, relayed(component, [], TURN_WAIT))
        return [c for c in (*found, *more[:-1]) if isinstance(c, Candidate)] + cast(list[Candidate], more[-1])

    cast(Any, connection).get_component_candidates = gather


async def _reflexive(connection: Connection, protocol: StunProtocol) -> Candidate | None:
    """How a STUN server sees this socket; None when there is none or it does not answer."""
    if connection.stun_server is None or ":" in protocol.local_candidate.host:
        return None
    try:
        async with asyncio.timeout(STUN_WAIT):
            candidate, _ = await server_reflexive_candidate(protocol, connection.stun_server)
    except Exception:  # no answer, no route, no such name: then there is one candidate less
        return None
    return candidate if candidate.host != protocol.local_candidate.host else None


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
