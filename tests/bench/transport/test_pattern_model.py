"""The test pattern: its number survives the codecs at every size, and a session runs on it."""

from __future__ import annotations

import pytest

from bench.transport.pattern_model import Painter, PatternRollout, open_model, read_number
from models.errors import ModelError
from stream.engine.backend import RolloutBackend
from stream.video.encoder import CODECS, VideoEncoder, default_bitrate, picture


@pytest.mark.parametrize(("width", "height"), [(128, 128), (256, 256), (832, 480)])
@pytest.mark.parametrize("codec", CODECS)
def test_the_number_is_readable_after_the_codec(codec: str, width: int, height: int) -> None:
    import av

    painter = Painter(width, height)
    encoder = VideoEncoder(codec, width, height, 16.0, default_bitrate(width, height, 16.0))
    decoder = av.CodecContext.create("libvpx" if codec == "VP8" else "h264", "r")
    seen = []
    for i, number in enumerate((0, 1, 2, 1000, 1001, 65535)):
        assert read_number(painter.frame(number)) == number
        packet = encoder.encode(picture(painter.frame(number)), i * 5625, keyframe=i == 0)
        assert packet is not None
        seen += [read_number(f.to_ndarray(format="rgb24")) for f in decoder.decode(av.Packet(bytes(packet)))]  # type: ignore[attr-defined]
    seen += [read_number(f.to_ndarray(format="rgb24")) for f in decoder.decode(None)]  # type: ignore[attr-defined]
    assert seen == [0, 1, 2, 1000, 1001, 65535]


def test_what_carries_no_number_is_said_to_carry_none() -> None:
    picture = Painter(128, 128).frame(7)
    picture[:] = 128
    assert read_number(picture) is None


def test_it_is_a_rollout() -> None:
    rollout: RolloutBackend = PatternRollout(open_model("pattern?width=64&height=64", "cpu", 1), "a test")
    kinds, frames = [], 0
    while rollout.chunk < 2:
        unit = rollout.next()
        kinds.append(unit.kind)
        made = rollout.run(unit, r=0.0)
        frames += 0 if made is None else len(made)
    assert kinds == ["prompt", "step", "decode", "append", "step", "decode", "append"]
    assert frames == rollout.frame == 13


@pytest.mark.parametrize("source", ["pattern?width=x", "pattern?width=100", "pattern?height=0"])
def test_nonsense_sizes_are_refused(source: str) -> None:
    with pytest.raises(ModelError, match="pattern"):
        open_model(source, "cpu", 1)
