"""One WebRTC peer that watches a session: from its offer to its last packet."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

from aioice.ice import get_host_addresses
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import SessionDescription, candidate_from_sdp

from .aiortc_hooks import IceAddresses, offer_addresses, on_keyframe_request
from .broadcast import ViewerTrack
from .config import ServerConfig
from .encoders import CODECS
from .errors import InvalidRequest, NotAcceptable
from .session import Session

log = logging.getLogger("farcast.viewer")

MAX_CANDIDATES = 64  # of one peer; a real one has a handful
FRAGMENT = re.compile(r"^a=(candidate:.*|end-of-candidates|mid:.*|ice-ufrag:.*|ice-pwd:.*)$")


def local_addresses(config: ServerConfig) -> tuple[str, ...] | None:
    """The addresses to offer; None leaves the choice to aiortc, which offers all but loopback."""
    if config.ice_addresses:
        return config.ice_addresses
    found = get_host_addresses(use_ipv4=True, use_ipv6=True)
    if config.on_loopback:  # a browser of this machine may have nothing but loopback
        return ("127.0.0.1", *found)
    return tuple(found) if config.ice_ports or config.public_address else None


class Viewer:
    """`id` names the WHEP resource and cannot be guessed; `closed` is set when it is over."""

    def __init__(self, session: Session, config: ServerConfig) -> None:
        self.id = secrets.token_urlsafe(16)
        self.etag = f'"{secrets.token_hex(8)}"'
        self.session = session
        self.config = config
        self.closed = asyncio.Event()
        self.codec = ""
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=list[RTCIceServer]()))
        self._sender: RTCRtpSender | None = None
        self._track: ViewerTrack
        self._candidates = 0
        self._counted = False
        self._ufrag = ""
        self._watch: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        """SDP for SDP. Raises InvalidRequest for what is no offer to receive video, NotAcceptable for its codecs."""
        try:
            description = SessionDescription.parse(offer)
        except Exception:  # the parser raises whatever its input makes it raise
            raise InvalidRequest("The body is not a valid SDP offer.", code="bad_sdp") from None
        self.codec = pick_codec(description)
        candidates = [c for m in description.media for c in m.ice_candidates]
        if len(candidates) > MAX_CANDIDATES:
            raise InvalidRequest(f"The offer has {len(candidates)} candidates; the most is {MAX_CANDIDATES}.")
        self._candidates = len(candidates)
        self._ufrag = next((m.ice.usernameFragment or "" for m in description.media if m.ice), "")
        track = self._track = self.session.broadcast.track(self.codec)
        transceiver = self._peer.addTransceiver(track, direction="sendonly")
        transceiver.setCodecPreferences(preferences(self.codec))
        self._sender = transceiver.sender
        on_keyframe_request(self._sender, track.lost_picture)
        self._peer.on("connectionstatechange", self._changed)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            addresses = local_addresses(self.config)
            if addresses is not None:
                offer_addresses(self._peer, IceAddresses(addresses, self.config.ice_ports, self.config.public_address))
            await self._peer.setLocalDescription(await self._peer.createAnswer())
        except (ValueError, KeyError, AttributeError, TypeError, IndexError, AssertionError) as error:
            log.info("offer refused: %r", error)
            raise InvalidRequest("The SDP offer cannot be used. Send a WebRTC offer to receive video.") from None
        except (InternalError, InvalidAccessError, InvalidStateError, OperationError) as error:
            raise InvalidRequest(f"The SDP offer cannot be used: {error}.") from None
        self._watch = asyncio.create_task(self._watch_over(), name=f"viewer {self.id[:6]}")
        return self._peer.localDescription.sdp

    async def trickle(self, fragment: str) -> bool:
        """Candidates of an SDP fragment. Returns False when it asks for an ICE restart, which is not possible."""
        mid: str | None = None
        for line in fragment.splitlines():
            if (match := FRAGMENT.match(line.strip())) is None:
                continue
            name, _, value = match.group(1).partition(":")
            if name == "ice-ufrag" and self._ufrag and value != self._ufrag:
                return False
            if name == "mid":
                mid = value
            elif name == "candidate":
                await self._add_candidate(value, mid)
            elif name == "end-of-candidates":
                await self._peer.addIceCandidate(None)
        return True

    async def _add_candidate(self, value: str, mid: str | None) -> None:
        self._candidates += 1
        if self._candidates > MAX_CANDIDATES:
            raise InvalidRequest(f"More than {MAX_CANDIDATES} candidates. Send fewer.")
        try:
            candidate = candidate_from_sdp(value)
        except (ValueError, AssertionError, IndexError):
            raise InvalidRequest("A candidate in the fragment cannot be read.", code="bad_sdp") from None
        candidate.sdpMid = mid if mid is not None else "0"
        await self._peer.addIceCandidate(candidate)

    async def close(self) -> None:
        """Idempotent."""
        if self.closed.is_set():
            return
        self.closed.set()
        if self._counted:
            self.session.viewer_left()
        if self._watch is not None and self._watch is not asyncio.current_task():
            self._watch.cancel()
        await self._peer.close()

    def _changed(self) -> None:
        if self._peer.connectionState == "connected" and not self._counted and not self.closed.is_set():
            self._counted = True
            self.session.viewer_joined()

    async def _watch_over(self) -> None:
        """Close a peer that does not connect, has failed, or has gone silent."""
        deadline = time.monotonic() + self.config.connect_timeout
        heard = time.monotonic()
        last = None
        while not self.closed.is_set():
            await asyncio.sleep(0.5)
            now = time.monotonic()
            state = self._peer.connectionState
            if state in ("failed", "closed"):
                return await self.close()
            if state != "connected":
                heard = now
                if now > deadline:
                    log.info("a viewer of %s never connected", self.session.id)
                    return await self.close()
                continue
            stamp = await self._reported()
            if stamp != last or not self._track.packets:  # nothing to report on before anything was sent
                last, heard = stamp, now
            if now - heard > self.config.silence_timeout:
                log.info("a viewer of %s is gone", self.session.id)
                return await self.close()

    async def _reported(self) -> object:
        """When the viewer's last RTCP report came; changes with every report."""
        assert self._sender is not None
        stats = await self._sender.getStats()
        return next((s.timestamp for s in stats.values() if s.type == "remote-inbound-rtp"), None)


def pick_codec(offer: SessionDescription) -> str:
    """The first of CODECS that the offer can receive. Raises InvalidRequest, NotAcceptable."""
    videos = [m for m in offer.media if m.kind == "video" and m.port != 0 and m.direction in ("recvonly", "sendrecv")]
    if not videos:
        raise InvalidRequest("The offer has no video to receive. Add a `recvonly` video transceiver.", code="no_video")
    offered = {codec.name.upper() for media in videos for codec in media.rtp.codecs}
    for media in videos:
        if media.dtls is None or not media.dtls.fingerprints or media.ice is None or not media.ice.password:
            raise InvalidRequest("The offer lacks its DTLS fingerprint or ICE password.", code="bad_sdp")
    for codec in CODECS:
        if codec in offered:
            return codec
    raise NotAcceptable(f"None of the offered codecs can be sent. Offer one of: {', '.join(CODECS)}.", code="no_codec")


def preferences(codec: str) -> list[RTCRtpCodecCapability]:
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    return [c for c in capabilities if c.name.upper() in (codec, "RTX")]
