"""What `stream.webrtc.aiortc_hooks` reaches for is there in the installed aiortc. A failure here means: look at the
module."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from aioice.ice import Connection
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtpPacket,
    pack_remb_fci,
    unpack_header_extensions,
)

from stream.webrtc import aiortc_hooks as hooks
from stream.webrtc.aiortc_hooks import IceAddresses, Report

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"


@pytest.fixture
async def peer():  # type: ignore[no-untyped-def]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    yield peer
    await peer.close()


async def test_a_picture_loss_report_arrives_at_the_callback(peer: RTCPeerConnection) -> None:
    from aiortc.rtp import RTCP_PSFB_PLI, RtcpPsfbPacket

    sender = peer.addTransceiver("video").sender
    asked: list[int] = []
    hooks.on_keyframe_request(sender, lambda: asked.append(1))
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=1, media_ssrc=sender._ssrc))
    assert asked == [1]


def test_the_sender_still_packs_packets_instead_of_encoding_them() -> None:
    source = inspect.getsource(RTCRtpSender._next_encoded_frame)
    assert ".pack(data)" in source


async def test_reports_and_estimates_arrive_whatever_their_size(peer: RTCPeerConnection) -> None:
    sender = peer.addTransceiver("video").sender
    seen: list[object] = []
    hooks.on_feedback(sender, received=lambda: seen.append("received"), report=seen.append, estimate=seen.append)
    block = RtcpReceiverInfo(sender._ssrc, 64, 3, 10, 900, 0, 0)
    await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[block]))
    assert seen == ["received", Report(highest=10, lost=3, jitter=0.01)]
    fci = pack_remb_fci(40_000, [sender._ssrc])
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci))
    assert seen[2:] == ["received", 40_000]
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=b"junk"))
    assert seen[4:] == ["received"]
    stats = await sender.getStats()
    assert any(s.type == "remote-inbound-rtp" for s in stats.values()), "aiortc's own reading goes on"


def test_the_transport_still_routes_reports_through_the_sender() -> None:
    assert "recipient._handle_rtcp_packet(packet)" in inspect.getsource(RTCDtlsTransport._handle_rtcp_data)


async def test_packets_wait_as_long_as_they_are_told(peer: RTCPeerConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = peer.addTransceiver("video").sender
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    monkeypatch.setattr(sender.transport, "_send_rtp", send)
    hooks.pace(sender, lambda size: size / 1000)
    began = asyncio.get_running_loop().time()
    await sender.transport._send_rtp(bytes(100))
    assert (len(sent), asyncio.get_running_loop().time() - began > 0.09) == (1, True)
    assert "self.transport._send_rtp(packet_bytes)" in inspect.getsource(RTCRtpSender._run_rtp)


async def test_lost_packets_are_sent_again_only_where_allowed(peer: RTCPeerConnection) -> None:
    sender = peer.addTransceiver("video").sender
    asked: list[int] = []
    hooks.limit_resends(sender, lambda sequence: bool(asked.append(sequence)))
    nack = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=sender._ssrc, lost=[7, 8])
    await sender._handle_rtcp_packet(nack)
    assert asked == [7, 8]


def test_ice_checks_still_end_where_we_listen() -> None:
    source = inspect.getsource(Connection.request_received)
    assert "self.check_incoming(message, addr, protocol)" in source
    assert source.index("check_message_integrity") < source.index("self.check_incoming"), "only those that are signed"


async def test_the_playout_delay_is_in_every_packet(peer: RTCPeerConnection) -> None:
    sender = peer.addTransceiver("video").sender
    hooks.hint_playout_delay(sender, 6, 0.0, 0.4)
    extensions = sender._RTCRtpSender__rtp_header_extensions_map  # type: ignore[attr-defined]
    parameters = RTCRtpParameters(headerExtensions=[RTCRtpHeaderExtensionParameters(id=1, uri=MID)])
    extensions.configure(parameters)
    packet = RtpPacket(payload_type=97)
    packet.extensions.mid = "0"
    assert unpack_header_extensions(*extensions.set(packet.extensions)) == [(1, b"0"), (6, b"\x00\x00\x28")]
    assert "packet.serialize(self.__rtp_header_extensions_map)" in inspect.getsource(RTCRtpSender._run_rtp)


async def offered(peer: RTCPeerConnection, ice: IceAddresses) -> list[str]:
    other = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    other.addTransceiver("video", direction="recvonly")
    await other.setLocalDescription(await other.createOffer())
    peer.addTransceiver("video", direction="sendonly")
    await peer.setRemoteDescription(RTCSessionDescription(other.localDescription.sdp, "offer"))
    hooks.offer_addresses(peer, ice)
    await peer.setLocalDescription(await peer.createAnswer())
    await other.close()
    return [line for line in peer.localDescription.sdp.splitlines() if line.startswith("a=candidate")]


async def test_only_the_chosen_address_and_ports_are_offered(peer: RTCPeerConnection) -> None:
    lines = await offered(peer, IceAddresses(("127.0.0.1",), (42000, 42100)))
    assert len(lines) == 1
    host, port = lines[0].split()[4:6]
    assert host == "127.0.0.1"
    assert 42000 <= int(port) <= 42100


async def test_a_server_behind_nat_announces_its_public_address(peer: RTCPeerConnection) -> None:
    lines = await offered(peer, IceAddresses(("127.0.0.1",), None, "192.0.2.7"))
    assert lines[0].split()[4] == "192.0.2.7"


async def test_an_address_that_is_not_ours_is_left_out(peer: RTCPeerConnection) -> None:
    assert len(await offered(peer, IceAddresses(("203.0.113.9", "127.0.0.1")))) == 1
