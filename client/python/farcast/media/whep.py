"""A WHEP player on aiortc: offers, receives the video, decodes it, and hands frames on.

WHEP: draft-ietf-wish-whep. All ICE candidates are gathered before the offer, so no trickle is needed on this side.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame
from numpy.typing import NDArray

from ..api import Api
from ..errors import FarcastError, MediaFailed, RequestRefused
from ..events import Disconnected, Event, Reconnected
from .frames import Frame

log = logging.getLogger(__name__)
_CONNECT_S = 15.0  # from the offer to the first frame
_ASK = httpx.Timeout(15.0, connect=2.0)  # while the network is down a connection hangs: ask anew instead
_LEAVE_S = 3.0  # a server that does not answer then will notice by itself
_SILENCE_S = 5.0  # no frame for so long while the session is live: connect anew


@dataclass
class MediaStats:
    """What has arrived: frames, bytes and packets lost (as RTCP counts them), and how often it had to reconnect."""

    frames: int = 0
    fps: float = 0.0
    bytes: int = 0
    packets_lost: int = 0
    jitter_ms: float = 0.0
    reconnects: int = 0
    first_frame_s: float | None = None
    _arrivals: list[float] = field(default_factory=list, repr=False)

    def arrived(self, now: float) -> None:
        """Count one frame; `fps` is over the last two seconds."""
        self.frames += 1
        self._arrivals = [t for t in self._arrivals if now - t < 2.0] + [now]
        span = now - self._arrivals[0]
        self.fps = (len(self._arrivals) - 1) / span if span > 0 else 0.0


class Player:
    """Watches one WHEP address. `emit_frame` gets every decoded frame, `emit` what happens to the connection.

    `live()` says whether frames are due: a paused session sends none, and that is no reason to reconnect.
    """

    def __init__(
        self,
        api: Api,
        url: str,
        *,
        emit_frame: Callable[[Frame], None],
        emit: Callable[[Event], None],
        live: Callable[[], bool],
        ice_servers: Sequence[RTCIceServer] = (),
        reconnect_timeout: float = 30.0,
    ) -> None:
        self._api, self._url, self._reconnect_timeout = api, api.absolute(url), reconnect_timeout
        self._emit_frame, self._emit, self._live = emit_frame, emit, live
        self._ice_servers = list(ice_servers)
        self._task: asyncio.Task[None] | None = None
        self._peer: RTCPeerConnection | None = None
        self.stats = MediaStats()
        self.failed: asyncio.Future[FarcastError] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="farcast-media")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def measured(self) -> MediaStats:
        """The counters, those of RTCP included."""
        if self._peer is not None:
            for report in (await self._peer.getStats()).values():
                if report.type == "inbound-rtp":
                    self.stats.packets_lost = report.packetsLost
                    self.stats.jitter_ms = report.jitter / 90.0  # RTP clock of 90 kHz
                elif report.type == "transport":
                    self.stats.bytes = report.bytesReceived
        return self.stats

    async def _run(self) -> None:
        """Watch, and after a break watch again, until closed or `reconnect_timeout` has passed."""
        started = time.monotonic()
        lost_at: float | None = None
        delay = 0.1
        while True:
            frames = self.stats.frames
            try:
                await self._watch(started, lost_at)
                reason = "the stream ended"
            except RequestRefused as error:
                if error.status in (401, 403, 404, 409, 410):  # this will not get better by asking again
                    self.failed.set_result(error)
                    return
                reason = error.message
            except FarcastError as error:
                reason = error.message
            if self.stats.frames > frames:
                lost_at, delay = None, 0.1
            if lost_at is None:
                lost_at = time.monotonic()
                self._emit(Disconnected("media", reason))
            if time.monotonic() - lost_at > self._reconnect_timeout:
                self.failed.set_result(MediaFailed(f"No video within {self._reconnect_timeout:g} s: {reason}."))
                return
            self.stats.reconnects += 1
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    async def _watch(self, started: float, lost_at: float | None) -> None:
        """One peer connection, from the offer to its end. Returns when the track ends; raises MediaFailed."""
        servers = self._ice_servers or await self._offered_ice_servers()
        peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._peer = peer
        resource: str | None = None
        try:
            transceiver = peer.addTransceiver("video", direction="recvonly")
            if _is_loopback(self._url):
                _offer_loopback(transceiver)
            await _uncancelled(peer.setLocalDescription(await peer.createOffer()))
            resource = await self._exchange(peer)
            await self._pump(transceiver.receiver.track, started, lost_at)
        finally:
            self._peer = None
            # The server frees the viewer's place at once instead of waiting for its silence.
            await asyncio.shield(_leave(self._api, peer, resource))

    async def _exchange(self, peer: RTCPeerConnection) -> str | None:
        answer = await self._api.request(
            "POST",
            self._url,
            content=peer.localDescription.sdp,
            headers={"Content-Type": "application/sdp"},
            timeout=_ASK,
        )
        try:
            await peer.setRemoteDescription(RTCSessionDescription(sdp=answer.text, type="answer"))
        except Exception as error:  # aiortc has no error type of its own for a bad answer
            raise MediaFailed(f"The server's SDP answer cannot be used: {error}.") from None
        location = answer.headers.get("Location")
        return self._api.absolute(location) if location else None

    async def _pump(self, track: MediaStreamTrack, started: float, lost_at: float | None) -> None:
        first = True
        quiet_since = time.monotonic()
        while True:
            limit = _CONNECT_S if first else _SILENCE_S
            try:
                async with asyncio.timeout(limit / 4):
                    frame = await track.recv()
            except TimeoutError:
                if not self._live():
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > limit:
                    raise MediaFailed(f"no frame for {limit:g} s; a firewall may block the media ports") from None
                continue
            except MediaStreamError:
                return
            assert isinstance(frame, VideoFrame)
            now = quiet_since = time.monotonic()
            if first:
                first = False
                if self.stats.first_frame_s is None:
                    self.stats.first_frame_s = now - started
                elif lost_at is not None:
                    self._emit(Reconnected("media", now - lost_at))
            pts = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else 0.0
            image = await asyncio.to_thread(_rgb, frame)
            self._emit_frame(Frame(image, pts, self.stats.frames, now))
            self.stats.arrived(now)

    async def _offered_ice_servers(self) -> list[RTCIceServer]:
        """STUN and TURN servers named in the WHEP address's `Link` headers; none on this machine."""
        if _is_loopback(self._url):
            return []
        try:
            answer = await self._api.request("OPTIONS", self._url, timeout=_ASK)
        except FarcastError:
            return []
        return ice_servers(answer.headers.get_list("Link"))


_LINK = re.compile(r"<([^>]+)>([^<]*)")
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s;,]+))')


def ice_servers(links: Sequence[str]) -> list[RTCIceServer]:
    """`Link: <turn:host>; rel="ice-server"; username="u"; credential="c"` headers as aiortc takes them. Read here:
    httpx splits a parameter at every `=`, and credentials are base64."""
    servers = []
    for value in links:
        for url, rest in _LINK.findall(value):
            link = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
            if link.get("rel") == "ice-server":
                servers.append(RTCIceServer(url, username=link.get("username"), credential=link.get("credential")))
    return servers


def _rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    return cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24"))


async def _leave(api: Api, peer: RTCPeerConnection, resource: str | None) -> None:
    await peer.close()
    if resource is not None:
        try:
            await api.request("DELETE", resource, timeout=_LEAVE_S)
        except FarcastError as error:  # the session may be gone with its viewers
            log.debug("leaving %s: %s", resource, error)


async def _uncancelled(work: Coroutine[Any, Any, None]) -> None:
    """Finish `work` even when cancelled meanwhile: aioice loses the sockets of a gathering that is cut short."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _offer_loopback(transceiver: object) -> None:
    """Let ICE use 127.0.0.1 too: aioice leaves it out, and a laptop without a network has nothing else.

    Reaches into aiortc for the connection that gathers; tests/client/test_whep.py fails if that changes.
    """
    connection = transceiver.receiver.transport.transport.iceGatherer._connection  # type: ignore[attr-defined]
    gather = connection.get_component_candidates

    async def with_loopback(component: int, addresses: list[str], **options: object) -> object:
        return await gather(component=component, addresses=[*addresses, "127.0.0.1"], **options)

    connection.get_component_candidates = with_loopback
