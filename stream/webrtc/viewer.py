"""One WebRTC peer that watches a session: from its offer to its last packet."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable

from aioice.ice import get_host_addresses
from aiortc import (
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from stream.config import ServerConfig
from stream.errors import Busy, InvalidRequest
from stream.ice import credentials
from stream.metrics import Metrics
from stream.session.session import Session

from . import aiortc_hooks as hooks
from .aiortc_hooks import IceAddresses, Report
from .congestion import LossMeter
from .sdp import MAX_CANDIDATES, Offer, finish_answer, parse_fragment, parse_offer, preferences, too_many
from .track import ViewerTrack

log = logging.getLogger("farcast.viewer")

LOOK = 0.25  # seconds between two looks at whether the viewer is still there
OUTAGE_S = 2.0  # seconds of silence after which a viewer that answers again has surely lost the picture
OVER = 1.0  # seconds that a viewer of a session that is over is kept, so that the control socket can say so first
FIRST_FRAME_PATIENCE = 3  # times the patience with a viewer that has not been sent anything yet
CLOSING = 5.0  # seconds that closing a peer may take
PLAYOUT_DELAY = (0.0, 0.4)  # seconds a viewer may hold a frame back: as little as its network allows


def local_addresses(config: ServerConfig) -> tuple[str, ...]:
    """The addresses to offer: all there are unless some are named, and loopback where the server is bound to it."""
    if config.ice_addresses:
        return config.ice_addresses
    found = get_host_addresses(use_ipv4=True, use_ipv6=True)
    return ("127.0.0.1", *found) if config.on_loopback else tuple(found)


def own_ice_servers(config: ServerConfig) -> list[RTCIceServer]:
    """What this side asks for help: STUN where it does not know its public address, TURN where viewers cannot reach
    it at all."""
    found = []
    for server in config.ice_servers:
        if not server.relays:
            if config.public_address is None and not config.on_loopback:
                found.append(RTCIceServer(server.url))
        elif config.relay:
            assert config.turn_secret is not None
            made = credentials(config.turn_secret, "server", time.time())
            found.append(RTCIceServer(server.url, username=made.username, credential=made.password))
    return found


class Viewer:
    """`id` names the WHEP resource and cannot be guessed; `closed` is set when it is over, `why` says why."""

    def __init__(
        self,
        session: Session,
        config: ServerConfig,
        metrics: Metrics,
        *,
        owner: bool = True,
        on_closed: Callable[[Viewer], object] = lambda viewer: None,
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.etag = f'"{secrets.token_hex(8)}"'
        self.session, self.config, self.metrics = session, config, metrics
        self.closed = asyncio.Event()
        self._on_closed = on_closed
        self.owner = owner  # it came with the token that steers
        self.why = ""
        self.codec = ""
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=own_ice_servers(config)))
        self._sender: RTCRtpSender
        self._track: ViewerTrack
        self._candidates = 0
        self._counted = False
        self._ufrag = self._mid = ""
        self._losses = LossMeter()
        self.began = self._received_at = time.monotonic()
        self._watch: asyncio.Task[None] | None = None
        self._names: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether its media connection is, or was, up."""
        return self._counted

    async def answer(self, text: str) -> str:
        """SDP for SDP. Raises InvalidRequest for what is no offer to receive video, NotAcceptable for its codecs,
        Busy when no UDP port is free."""
        offer = parse_offer(text)
        self.codec, self._ufrag, self._mid, self._candidates = offer.codec, offer.ufrag, offer.mid, offer.count
        self._track = ViewerTrack(self.codec, self.session.broadcast)
        transceiver = self._peer.addTransceiver(self._track, direction="sendonly")
        transceiver.setCodecPreferences(preferences(self.codec))
        self._sender = transceiver.sender
        self._listen(offer)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
            hooks.on_ice_check(self._peer, self._is_there)
            hooks.pace(self._sender, self._track.pause_before)
            addresses = IceAddresses(local_addresses(self.config), self.config.ice_ports, self.config.public_address)
            hooks.offer_addresses(self._peer, addresses)
            await self._peer.setLocalDescription(await self._peer.createAnswer())
            await self._add(offer.candidates)
        except (ValueError, KeyError, AttributeError, TypeError, IndexError, AssertionError) as error:
            log.info("offer refused: %r", error)
            raise InvalidRequest("The SDP offer cannot be used. Send a WebRTC offer to receive video.") from None
        except (InternalError, InvalidAccessError, InvalidStateError, OperationError) as error:
            raise InvalidRequest(f"The SDP offer cannot be used: {error}.") from None
        if "a=candidate:" not in self._peer.localDescription.sdp:
            raise Busy("No UDP port is free for one more viewer (--ice-ports).", code="no_ports", retry_after=10)
        self._watch = asyncio.create_task(self._watch_over(), name=f"viewer {self.id[:6]}")
        return finish_answer(self._peer.localDescription.sdp, offer.playout_delay)

    async def trickle(self, text: str) -> bool:
        """Candidates of an SDP fragment. Returns False when it asks for an ICE restart, which is not possible."""
        fragment = parse_fragment(text)
        if fragment.ufrag is not None and self._ufrag and fragment.ufrag != self._ufrag:
            return False
        self._candidates += fragment.count
        if self._candidates > MAX_CANDIDATES:
            raise too_many(self._candidates)
        await self._add(fragment.candidates)
        return True

    async def close(self, why: str = "left") -> None:
        """Idempotent. `why`, a short word, is for the metrics."""
        if self.closed.is_set():
            return
        self.closed.set()
        self.why = why
        self._on_closed(self)
        if self._counted:
            self.session.viewer_left()
        if self._watch is not None:
            self.metrics.viewers_gone.labels(why).inc()
            if self._watch is not asyncio.current_task():
                self._watch.cancel()
        for task in self._names:
            task.cancel()
        try:
            async with asyncio.timeout(CLOSING):
                await self._peer.close()
        except TimeoutError:
            log.warning("the peer of viewer %s does not close", self.id[:6])

    # --- reports of the viewer

    def _listen(self, offer: Offer) -> None:
        hooks.on_keyframe_request(self._sender, self._track.lost_picture)
        hooks.on_feedback(self._sender, received=self._is_there, report=self._reported, estimate=self._estimated)
        hooks.limit_resends(self._sender, self._track.may_resend)
        if offer.playout_delay is not None:
            hooks.hint_playout_delay(self._sender, offer.playout_delay, *PLAYOUT_DELAY)
        self._peer.on("connectionstatechange", self._changed)

    def _is_there(self) -> None:
        now = time.monotonic()
        if now - self._received_at > OUTAGE_S and self._counted:
            self._track.cut_off()
        self._received_at = now

    def _reported(self, report: Report) -> None:
        self.metrics.viewer_jitter.observe(report.jitter)
        now = time.monotonic()
        loss = self._losses.add(report.highest, report.lost, now)
        if loss is not None:
            self._track.controller.report(loss, self._track.sent, now)
            self.metrics.viewer_loss.observe(loss)
            self._log_report("loses %.0f %%", 100 * loss)

    def _estimated(self, rate: int) -> None:
        self._track.controller.remb(rate, self._track.sent, time.monotonic())
        self._log_report("estimates %.0f kbit/s", rate / 1e3)

    def _log_report(self, what: str, value: float) -> None:
        if log.isEnabledFor(logging.DEBUG):
            track = self._track
            now = f"sent {track.sent / 1e3:.0f}, may be sent {track.rate / 1e3:.0f} kbit/s, {track.encoding}"
            log.debug(f"viewer %s {what}; %s", self.id[:6], value, now)

    def _changed(self) -> None:
        if self._peer.connectionState == "connected" and not self._counted and not self.closed.is_set():
            self._counted = True
            self._is_there()
            self.metrics.viewer_connect.observe(time.monotonic() - self.began)
            self.session.viewer_joined()

    async def _add(self, candidates: Iterable[RTCIceCandidate]) -> None:
        for candidate in candidates:
            candidate.sdpMid = self._mid  # WHEP bundles everything, so there is one transport
            if candidate.ip.endswith(".local"):  # looking up a name takes up to a second: nobody waits for that
                task = asyncio.create_task(self._peer.addIceCandidate(candidate), name="mDNS")
                self._names.add(task)
                task.add_done_callback(self._found)
            else:
                await self._peer.addIceCandidate(candidate)

    def _found(self, task: asyncio.Task[None]) -> None:
        self._names.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a candidate by name is left out: %r", error)

    # --- is it still there?

    async def _watch_over(self) -> None:
        """Close a peer that does not connect, has failed, or has gone silent."""
        while not self.closed.is_set():
            await asyncio.sleep(LOOK)
            why = self._gone(time.monotonic())
            if why is not None:
                log.info("viewer %s of %s: %s", self.id[:6], self.session.id, why)
                return await self.close(why)

    def _gone(self, now: float) -> str | None:
        """Why it has to go; None while it may stay."""
        state = self._peer.connectionState
        if state in ("failed", "closed"):
            return state
        if self.session.ended_at is not None and now - self.session.ended_at > OVER:
            return "over"
        if state != "connected":
            if now - self.began <= self.config.connect_timeout:
                return None
            return "no_ice" if self._peer.iceConnectionState != "completed" else "no_dtls"
        # Before the first frame there is nothing to report on, and some check the way only every six seconds.
        patience = self.config.silence_timeout * (1 if self._track.packets else FIRST_FRAME_PATIENCE)
        return "silent" if now - self._received_at > patience else None
