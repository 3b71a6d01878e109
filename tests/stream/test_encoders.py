"""One packet a frame, keyframes when asked and only then, media time kept."""

from __future__ import annotations

import av
import numpy as np
import pytest

from stream.encoders import CODECS, VideoEncoder, default_bitrate, picture


def frames(count: int) -> list[np.ndarray]:
    out = []
    for i in range(count):
        pixels = np.full((64, 96, 3), (200, 30, 30), np.uint8)
        pixels[10:30, i * 2 : i * 2 + 20] = (30, 200, 60)
        out.append(pixels)
    return out


@pytest.mark.parametrize("codec", CODECS)
def test_one_packet_a_frame_with_its_time_and_keyframes_only_on_request(codec: str) -> None:
    encoder = VideoEncoder(codec, 96, 64, 16.0, default_bitrate(96, 64, 16))
    packets = [encoder.encode(picture(pixels), i * 5625, keyframe=i in (0, 20)) for i, pixels in enumerate(frames(30))]
    assert all(packets)
    assert [p.pts for p in packets if p] == [i * 5625 for i in range(30)]
    assert [i for i, p in enumerate(packets) if p and p.is_keyframe] == [0, 20]


@pytest.mark.parametrize(("codec", "decoder"), [("VP8", "libvpx"), ("H264", "h264")])
def test_a_keyframe_in_the_middle_can_be_decoded_alone(codec: str, decoder: str) -> None:
    encoder = VideoEncoder(codec, 96, 64, 16.0, default_bitrate(96, 64, 16))
    packets = [encoder.encode(picture(p), i * 5625, keyframe=i in (0, 9)) for i, p in enumerate(frames(12))]
    context = av.CodecContext.create(decoder, "r")
    pictures = [f for p in packets[9:] if p for f in context.decode(av.Packet(bytes(p)))]
    pictures += context.decode(None)
    assert len(pictures) == 3
    colour = pictures[0].to_ndarray(format="rgb24")[50, 90]
    assert abs(colour.astype(int) - (200, 30, 30)).max() < 25
