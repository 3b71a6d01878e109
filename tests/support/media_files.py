"""Pictures and clips as bytes, good and hostile, for the tests of uploads."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
from PIL import Image


def picture(kind: str = "PNG", width: int = 40, height: int = 30, colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind)
    return file.getvalue()


def clip(
    container: str = "mp4", codec: str = "libx264", size: int = 64, frames: int = 8, rate: int = 8, pix: str = "yuv420p"
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width = stream.height = size
        stream.pix_fmt = pix
        for index in range(frames):
            pixels = np.full((size, size, 3), 10 * index % 255, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return file.getvalue()


def growing_clip(small: int = 96, large: int = 16000, container: str = "matroska") -> bytes:
    """Motion JPEG whose first frame is small x small and whose later ones are large x large, some kilobytes each."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream("mjpeg", rate=8)
        stream.width = stream.height = small
        stream.pix_fmt = "yuvj420p"
        first = stream.encode(av.VideoFrame.from_ndarray(np.zeros((small, small, 3), np.uint8), format="rgb24"))
        out.mux(first)
        head = picture("JPEG", 64, 64)
        at = head.index(b"\xff\xc0")
        huge = head[: at + 5] + struct.pack(">HH", large, large) + head[at + 9 :]  # the frame header's height and width
        for index in range(1, 8):
            packet = av.Packet(huge)
            packet.stream, packet.pts, packet.dts = stream, index, index
            packet.time_base = stream.time_base or first[0].time_base
            packet.is_keyframe = True
            out.mux(packet)
    return file.getvalue()


def many_scans(count: int, width: int = 2000, height: int = 2000) -> bytes:
    """A progressive JPEG with `count` scans of some 20 bytes each, each a pass over the whole picture."""
    file = io.BytesIO()
    Image.new("L", (width, height), 128).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    return data[:start] + data[start:end] * count + b"\xff\xd9"


FFCONCAT = b"ffconcat version 1.0\nfile 'docs/results/compare.png'\nduration 5\n"
CONCAT = b"concat:docs/results/compare.png|docs/results/compare.png"
SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 50000 RTP/AVP 96\r\n"
    b"a=rtpmap:96 H264/90000\r\n"
)
HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\ndocs/results/compare.png\n#EXT-X-ENDLIST\n"
DASH = (
    b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>docs/</BaseURL></Period></MPD>'
)
PLAYLISTS = {"ffconcat": FFCONCAT, "concat": CONCAT, "sdp": SDP, "hls": HLS, "dash": DASH}
