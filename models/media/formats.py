"""Which files are taken as pictures and clips, decided by their first bytes before any decoder sees them."""

from __future__ import annotations

import re

from models.errors import MediaError

PICTURES = ("PNG", "JPEG", "WEBP", "GIF")  # names of Pillow's plugins; of an animated picture the first frame counts
CONTAINERS = "MP4, MOV, WebM, Matroska or GIF"
# FFmpeg decoders that may run. FFmpeg knows hundreds; the rare ones are where its memory errors are found.
DECODERS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "libdav1d", "libvpx", "libvpx-vp9", "mjpeg", "gif")

MAX_SIDE = 8192
MAX_SCANS = 100  # of a progressive JPEG; encoders make about 10

_QUICKTIME_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# A marker: not a stuffed 0xFF00, a restart marker or a fill byte (ITU-T T.81, B.1.1).
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_SOS, _EOI, _TEM = 0xDA, 0xD9, 0x01


def clip_demuxer(head: bytes) -> str:
    """FFmpeg's name of the demuxer for a clip that begins with `head` (12 bytes are enough). Raises MediaError.

    Text formats that name other files or hosts (ffconcat, SDP, HLS, DASH) begin with none of these bytes.
    """
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[4:8] in _QUICKTIME_ATOMS:
        return "mov"
    raise MediaError(f"the file is not a clip that can be read: it is no {CONTAINERS}; send an MP4 or WebM")


def check_scans(jpeg: bytes) -> None:
    """Refuse a JPEG of more than MAX_SCANS scans: each costs a pass over the whole picture and some 60 bytes of file.

    Raises MediaError. What is no JPEG passes.
    """
    if not jpeg.startswith(b"\xff\xd8"):
        return
    scans, at = 0, 2
    while (marker := _MARKER.search(jpeg, at)) is not None:
        code, at = marker[1][0], marker.end()
        if code == _EOI:
            return
        if code == _TEM:
            continue
        if code == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise MediaError(
                    f"the JPEG has over {MAX_SCANS} scans; save it again as PNG or as a baseline JPEG",
                    code="too_many_scans",
                )
        at += int.from_bytes(jpeg[at : at + 2], "big")
