"""A move of the dial never cuts the scene: looked at on the pixels of the embedded model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest

pytest.importorskip("torch", reason="the server's packages are not installed")

from models.checkpoint.bundle import open_bundle
from stream.engine.protocol import ChunkMade, Open, PlayoutReport, SetDial, SetImage
from stream.engine.slot import Slot
from stream.engine.torch_backend import TorchModel
from stream.governor import CostModel, Dial
from stream.types import Pixels

MOVES = (4, 1, 12, 1, 2, 8)  # steps, as far apart as a small machine has patience for
CUT = 0.5  # of the difference between unrelated pictures


@pytest.fixture(scope="module")
def model() -> TorchModel:
    return TorchModel(open_bundle(None))


@dataclass
class Stream:
    """One rollout in a slot of its own, chunk by chunk."""

    slot: Slot
    frames: list[Pixels] = field(default_factory=list)
    bounds: list[int] = field(default_factory=list)  # index of each chunk's first frame
    serial: int = 0

    @classmethod
    def open(cls, model: TorchModel, prompt: str, seed: int) -> Stream:
        ticks = itertools.count()
        request = Open("s", prompt, seed, Dial(steps=4))
        slot = Slot(request, model.open(request), model.facts, CostModel(), max_lead=6.0,
                    clock=lambda: next(ticks) * 1e-3)  # fmt: skip
        return cls(slot)

    def chunk(self) -> ChunkMade:
        while True:
            for event in self.slot.run():
                if isinstance(event, ChunkMade):
                    self.bounds.append(len(self.frames))
                    self.frames += list(event.frames)
                    self.slot.mirror.on_report(PlayoutReport("s", self.slot.mirror.sent, 0, 0.0, 16.0))
                    while self.slot.rollout.next().kind == "append":
                        self.slot.run()
                    return event

    def dial(self, steps: int) -> None:
        self.serial += 1
        self.slot.set_dial(SetDial("s", self.serial, Dial(steps=steps)))


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


@pytest.mark.slow
def test_moving_the_dial_never_cuts_the_scene(model: TorchModel) -> None:
    prompt = (*model.facts.examples, "a big red circle bouncing on a navy background")[0]
    other = (*model.facts.examples[1:2], "a small blue star drifting on a white background")[0]
    stream, stranger = Stream.open(model, prompt, 1), Stream.open(model, other, 2)
    for _ in range(3):
        stream.chunk()
    for _ in range(2):
        stranger.chunk()
    made = []
    for steps in MOVES:
        stream.dial(steps)
        made.append(stream.chunk().steps)
    assert made == list(MOVES)  # within one chunk, each of them
    changes = [difference(a, b) for a, b in itertools.pairwise(stream.frames)]
    unrelated = difference(stream.frames[-1], stranger.frames[-1])
    settled = stream.bounds[3]  # the first chunk of a stream has nothing behind it
    assert unrelated > 4.0  # else this would show nothing
    assert max(changes[settled - 1 :]) < CUT * unrelated
    # And it can fail: a picture dropped in is a cut.
    stream.slot.set_image(SetImage("s", 99, stranger.frames[-1]))
    stream.chunk()
    assert difference(stream.frames[-2], stream.frames[-1]) > CUT * unrelated
