"""A viewer's SDP, looked at before aiortc sees it: is it an offer to receive video, with which codec, and which of
its candidates are of any use."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate, RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.sdp import SessionDescription, candidate_from_sdp

from stream.errors import InvalidRequest, NotAcceptable
from stream.video.encoder import CODECS

MAX_CANDIDATES = 64  # of one peer; a real one has a handful
MAX_NAMES = 4  # candidates by mDNS name that are looked up; each look-up may take a second
PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"

LINE = re.compile(r"[a-z]=\S.*")


@dataclass(frozen=True)
class Offer:
    """`sdp`: the offer without its candidates, which are `candidates`; `count` is how many it named."""

    sdp: str
    codec: str
    ufrag: str
    mid: str
    candidates: tuple[RTCIceCandidate, ...]
    count: int
    playout_delay: int | None  # id of that header extension, where the viewer takes it


@dataclass(frozen=True)
class Fragment:
    """A trickled fragment (RFC 8840)."""

    ufrag: str | None
    candidates: tuple[RTCIceCandidate, ...]
    count: int


def parse_offer(text: str) -> Offer:
    """Raises InvalidRequest for what is no offer to receive video, NotAcceptable for its codecs."""
    lines = text.splitlines()
    written = [line for line in lines if line.startswith("a=candidate:")]
    if len(written) > MAX_CANDIDATES:
        raise too_many(len(written))
    # Candidates go in one by one, so that a bad one is left out and a name that takes long to find delays nobody.
    # That no more will come is not passed on either: the viewer's own checks may still come from anywhere.
    rest = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    sdp = "".join(line + "\r\n" for line in rest)
    try:
        description = SessionDescription.parse(sdp)
    except Exception:  # the parser raises whatever its input makes it raise
        raise InvalidRequest("The body is not a valid SDP offer.", code="bad_sdp") from None
    bundled = bundle_only(sdp)
    videos = [
        media
        for media in description.media
        if media.kind == "video"
        and (media.port != 0 or media.rtp.muxId in bundled)
        and media.direction in ("recvonly", "sendrecv")
    ]
    if not videos:
        raise InvalidRequest("The offer has no video to receive. Add a `recvonly` video transceiver.", code="no_video")
    for media in videos:
        if media.dtls is None or not media.dtls.fingerprints or media.ice is None or not media.ice.password:
            raise InvalidRequest("The offer lacks its DTLS fingerprint or ICE password.", code="bad_sdp")
    ice = videos[0].ice
    assert ice is not None
    extension = next((e.id for e in videos[0].rtp.headerExtensions if e.uri == PLAYOUT_DELAY and 0 < e.id < 15), None)
    bundle = next((group.items for group in description.group if group.semantic == "BUNDLE" and group.items), None)
    return Offer(
        sdp,
        pick_codec(description),
        ice.usernameFragment or "",
        str(bundle[0]) if bundle else videos[0].rtp.muxId,
        useful(written),
        len(written),
        extension,
    )


def parse_fragment(text: str) -> Fragment:
    """Raises InvalidRequest when it is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    known = ("a=candidate:", "a=end-of-candidates", "a=ice-ufrag:", "a=ice-pwd:")
    if not all(LINE.fullmatch(line) for line in lines) or not any(line.startswith(known) for line in lines):
        raise InvalidRequest("The body is not an SDP fragment with ICE candidates.", code="bad_sdp")
    written = [line for line in lines if line.startswith("a=candidate:")]
    if len(written) > MAX_CANDIDATES:
        raise too_many(len(written))
    ufrag = next((line.partition(":")[2] for line in lines if line.startswith("a=ice-ufrag:")), None)
    return Fragment(ufrag, useful(written), len(written))


def too_many(count: int) -> InvalidRequest:
    return InvalidRequest(f"{count} candidates are too many; the most is {MAX_CANDIDATES}.", code="too_many_candidates")


def useful(lines: list[str]) -> tuple[RTCIceCandidate, ...]:
    """The candidates that can be tried. What cannot is left out without a word, as WHEP asks: other transports, and
    names (a look-up would block), except those of mDNS, of which there may be a few. Raises InvalidRequest for what
    is no candidate."""
    found, names = [], 0
    for line in lines:
        try:
            candidate = candidate_from_sdp(line.partition(":")[2])
        except (ValueError, AssertionError, IndexError):
            raise InvalidRequest("A candidate cannot be read.", code="bad_sdp") from None
        named = candidate.ip.endswith(".local")
        if not named and not is_address(candidate.ip):
            continue
        names += named
        if (
            candidate.protocol.lower() == "udp"
            and candidate.component == 1
            and 0 < candidate.port <= 65535
            and 0 < candidate.priority < 2**32
            and candidate.type in ("host", "srflx", "prflx", "relay")
            and names <= MAX_NAMES
        ):
            found.append(candidate)
    return tuple(found)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def bundle_only(sdp: str) -> set[str]:
    """Media that have port 0 because they travel with another one (RFC 9143), not because they are refused."""
    found = set()
    for section in re.split(r"^m=", sdp, flags=re.MULTILINE)[1:]:
        mid = re.search(r"^a=mid:(\S+)", section, re.MULTILINE)
        if mid is not None and re.search(r"^a=bundle-only\s*$", section, re.MULTILINE):
            found.add(mid[1])
    return found


def pick_codec(offer: SessionDescription) -> str:
    """The first of CODECS that the offer can receive. Raises NotAcceptable."""
    offered = {codec.name.upper() for media in offer.media if media.kind == "video" for codec in media.rtp.codecs}
    for codec in CODECS:
        if codec in offered:
            return codec
    raise NotAcceptable(f"None of the offered codecs can be sent. Offer one of: {', '.join(CODECS)}.", code="no_codec")


def preferences(codec: str) -> list[RTCRtpCodecCapability]:
    """For setCodecPreferences: this codec, and its retransmissions."""
    capabilities = RTCRtpSender.getCapabilities("video").codecs
    return [c for c in capabilities if c.name.upper() in (codec, "RTX")]


def finish_answer(sdp: str, playout_delay: int | None) -> str:
    """What WHEP and we want in an answer and aiortc does not write: RTP and RTCP share a port for good (RFC 8858), and
    the header extension for low delay."""
    out = []
    video = False
    for line in sdp.splitlines():
        if line.startswith("m="):
            video = line.startswith("m=video")
        out.append(line)
        if line == "a=rtcp-mux":
            out.append("a=rtcp-mux-only")
            if video and playout_delay is not None:
                out.append(f"a=extmap:{playout_delay} {PLAYOUT_DELAY}")
    return "".join(line + "\r\n" for line in out)
