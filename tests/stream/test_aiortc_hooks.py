"""What `stream.aiortc_hooks` reaches for is still there in the installed aiortc. A failure here means: look at the
module."""

from __future__ import annotations

import inspect

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from stream import aiortc_hooks as hooks
from stream.aiortc_hooks import IceAddresses


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
    assert "self.__encoder" in source, "reported_bitrate reads this"
    assert "target_bitrate" in inspect.getsource(RTCRtpSender._handle_rtcp_packet)


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
