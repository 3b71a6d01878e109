"""One packet a frame, keyframes when asked and only then, media time kept."""

from __future__ import annotations

import av
import numpy as np
import pytest

from stream.video.encoder import CODECS, VideoEncoder, default_bitrate, picture
from tests.support.fake_backend import rich


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


def kilobits(encoder: VideoEncoder, first: int, count: int) -> float:
    """What `count` frames of a rich picture took, in kbit/s at 16 fps."""
    total = 0
    for i in range(first, first + count):
        packet = encoder.encode(picture(rich(256, (0, 0, 0), i)), i * 5625, keyframe=i == 0)
        total += packet.size if packet is not None else 0
    return total * 8 * 16 / count / 1000


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("target", [120_000, 260_000])
def test_the_rate_is_right_at_sixteen_frames_a_second(codec: str, target: int) -> None:
    """aiortc's own encoders take 30 for granted and miss by half."""
    encoder = VideoEncoder(codec, 256, 256, 16.0, target, ceiling=default_bitrate(256, 256, 16))
    assert kilobits(encoder, 0, 96) == pytest.approx(target / 1000, rel=0.15)


@pytest.mark.slow
def test_h264_changes_its_rate_without_a_keyframe_and_vp8_says_it_cannot() -> None:
    encoder = VideoEncoder("H264", 256, 256, 16.0, 260_000)
    kilobits(encoder, 0, 32)
    assert encoder.set_bitrate(120_000)
    kilobits(encoder, 32, 32)  # it makes up for what it had spent
    assert kilobits(encoder, 64, 96) == pytest.approx(120, rel=0.2)
    assert not VideoEncoder("VP8", 256, 256, 16.0, 260_000).set_bitrate(120_000)


def test_a_keyframe_weighs_no_more_than_a_bottleneck_takes() -> None:
    encoder = VideoEncoder("VP8", 256, 256, 16.0, 120_000)
    packet = encoder.encode(picture(rich(256, (0, 0, 0), 0)), 0, keyframe=True)
    assert packet is not None
    assert packet.size * 8 < 0.6 * 120_000, "half a second of the rate"
