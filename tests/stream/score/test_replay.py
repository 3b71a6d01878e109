"""A take made again from its score, over the real model at its smallest size: bit for bit, whatever was done to it."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the server's packages are not installed")

from farcast.protocol import Score as Document
from farcast.protocol import ScoreError, parse_score

from stream.engine.protocol import (
    ChunkMade,
    DropFrom,
    Event,
    Open,
    PlayoutReport,
    Rewind,
    Rewound,
    SetDial,
    SetImage,
    SetPrompt,
)
from stream.engine.slot import Slot
from stream.engine.torch_backend import TorchModel
from stream.governor import CostModel, Dial
from stream.score.log import Score, to_json
from stream.score.replay import Replay
from stream.types import Pixels
from tests.support.small_bundle import small_bundle

PROMPTS = ("a red circle", "a blue star spinning", "a green square", "a big white cross on a maroon background")


@pytest.fixture(scope="module")
def model() -> TorchModel:
    return TorchModel(small_bundle())


@dataclass
class Desk:
    """A slot that is worked by hand, with the score kept as a session keeps it."""

    model: TorchModel
    opening: Open
    frames: dict[int, Pixels] = field(default_factory=dict)
    clock: float = 0.0
    serial: int = 0

    def __post_init__(self) -> None:
        o = self.opening
        self.score = Score.opening(self.model.facts, o.prompt, o.seed, o.guidance, o.dial, o.image, o.clip)
        self.slot = self.begin(o)
        self.shown = 0
        self.heard_count = 0

    def begin(self, opening: Open) -> Slot:
        rollout = self.model.load(opening.snapshot) if opening.snapshot else self.model.open(opening)
        return Slot(opening, rollout, self.model.facts, CostModel(), max_lead=60.0, clock=self.now)

    def now(self) -> float:
        self.clock += 1e-3
        return self.clock

    def heard(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ChunkMade):
                self.frames[event.chunk] = event.frames
                self.score.made(replace(event, crc=zlib.crc32(event.frames.data)))
            elif isinstance(event, Rewound | DropFrom):
                self.score.rewind(event.chunk)
            if isinstance(event, ChunkMade | Rewound | DropFrom):
                self.heard_count += 1
                left = max(0, sum(len(f) for c, f in self.frames.items() if c <= self.slot.rollout.chunk) - self.shown)
                self.slot.mirror.on_report(PlayoutReport("s", self.heard_count, left, self.clock, 16.0, playing=True))

    def run(self, units: int = 1) -> None:
        for _ in range(units):
            self.heard(self.slot.run())

    def chunks(self, count: int) -> None:
        until = self.slot.rollout.chunk + count
        while self.slot.rollout.chunk < until:
            self.run()

    def prompt(self, text: str, transition: int = 0, mix: tuple[tuple[str, float], ...] = ()) -> None:
        self.serial += 1
        self.heard(self.slot.set_prompt(SetPrompt("s", self.serial, text, transition, self.clock, mix)))

    def image(self, seed: int) -> None:
        self.serial += 1
        facts = self.model.facts
        pixels = np.random.default_rng(seed).integers(0, 255, (facts.height, facts.width, 3), np.uint8)
        self.heard(self.slot.set_image(SetImage("s", self.serial, pixels, self.clock)))

    def rewind(self, chunk: int) -> None:
        self.serial += 1
        self.heard(self.slot.rewind(Rewind("s", self.serial, chunk)))

    def dial(self, **dial: Any) -> None:
        self.serial += 1
        self.heard(self.slot.set_dial(SetDial("s", self.serial, Dial(**dial))))

    def restart(self) -> None:
        """The engine process dies and a new one goes on from a snapshot."""
        blob = self.model.save(self.slot.rollout)
        self.score.resumed(self.slot.rollout.chunk)
        self.slot, self.heard_count = self.begin(replace(self.opening, snapshot=blob)), 0

    def document(self) -> Document:
        return parse_score(to_json(self.score.document()))


def opening(**more: Any) -> Open:
    return Open("s", more.pop("prompt", PROMPTS[0]), 3, more.pop("dial", Dial(steps=2)), **more)


def assert_same(desk: Desk) -> None:
    """The take made again equals the live one, and it was no still picture that would equal anything."""
    document = desk.document()
    assert document.chunks > 0
    frame = 0
    for made in Replay(desk.model.bundle, document):
        assert made.exact, f"chunk {made.chunk} of {document.chunks} ({made.events})"
        assert np.array_equal(made.frames, desk.frames[made.chunk])
        assert made.frame == frame
        frame += len(made.frames)
    assert made.chunk == document.chunks - 1
    assert frame == desk.score.frames
    assert len({zlib.crc32(desk.frames[c].data) for c in range(document.chunks)}) == document.chunks


def test_prompts_a_mix_an_image_and_a_rewind_come_out_bit_for_bit(model: TorchModel) -> None:
    desk = Desk(model, opening(guidance=2.0))
    desk.chunks(2)
    desk.prompt(PROMPTS[1])
    desk.chunks(1)
    desk.dial(steps=3)
    desk.prompt("0.7 .. + 0.3 ..", 2, ((PROMPTS[0], 0.7), (PROMPTS[2], 0.3)))
    desk.chunks(2)
    desk.image(1)
    desk.chunks(2)
    desk.rewind(4)
    desk.chunks(1)
    desk.dial(steps=1)
    desk.chunks(2)
    assert_same(desk)


def test_the_same_take_at_more_steps_has_the_same_frames_and_events(model: TorchModel) -> None:
    desk = Desk(model, opening())
    desk.chunks(2)
    desk.prompt(PROMPTS[1])
    desk.chunks(1)
    desk.image(2)
    desk.chunks(2)
    live, finer = (list(Replay(model.bundle, desk.document(), steps=steps)) for steps in (None, 8))
    assert [len(a.frames) for a in live] == [len(b.frames) for b in finer]
    assert [a.events for a in live] == [b.events for b in finer]
    assert all(b.exact is None and len(b.sigmas) == 9 for b in finer)
    assert any(not np.array_equal(a.frames, b.frames) for a, b in zip(live, finer, strict=True))


def test_a_take_from_a_picture_and_one_from_a_clip(model: TorchModel) -> None:
    facts = model.facts
    picture = np.random.default_rng(5).integers(0, 255, (facts.height, facts.width, 3), np.uint8)
    clip = np.random.default_rng(6).integers(0, 255, (27, facts.height, facts.width, 3), np.uint8)
    for start in ({"image": picture}, {"clip": clip, "clip_fps": facts.fps}):
        desk = Desk(model, opening(**start))
        desk.chunks(2)
        desk.rewind(1)
        desk.prompt(PROMPTS[1])
        desk.chunks(3)
        assert_same(desk)


def test_a_long_way_back_and_a_new_engine_process(model: TorchModel) -> None:
    desk = Desk(model, opening())
    desk.chunks(8)
    desk.rewind(2)
    desk.chunks(6)
    desk.prompt(PROMPTS[1], 3)
    desk.chunks(2)
    desk.restart()
    desk.chunks(2)
    desk.rewind(desk.slot.rollout.chunk - 1)
    desk.chunks(2)
    assert_same(desk)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_between_any_two_units(model: TorchModel, seed: int) -> None:
    """Prompts while a chunk is being opened, chunks begun again, finished early, dropped: all of it is in the score."""
    dice = random.Random(seed)
    desk = Desk(model, opening(dial=Dial(latency_ms=900, ceiling=3)))
    desk.chunks(1)
    for _ in range(70):
        desk.run(dice.randint(1, 2))
        desk.shown = max(desk.shown, desk.score.frames - dice.choice((2, 14, 26)))
        match dice.randint(0, 19):
            case 0 | 1:
                desk.prompt(dice.choice(PROMPTS), dice.choice((0, 0, 3)))
            case 2:
                desk.prompt(
                    "a mix", dice.choice((0, 2)), ((PROMPTS[0], dice.random()), (PROMPTS[3], dice.random() + 0.1))
                )
            case 3:
                desk.image(dice.randint(0, 99))
            case 4 if desk.slot.rollout.chunk > 2:
                desk.rewind(desk.slot.rollout.chunk - dice.randint(0, 2))
            case 5:
                desk.dial(latency_ms=dice.choice((300, 900, 3000)), ceiling=3)
            case 6:
                desk.dial(steps=dice.choice((1, 2, None)))
            case 7:
                desk.slot.hurry = True
    desk.chunks(1)
    assert_same(desk)


def test_what_does_not_fit_is_refused_before_anything_is_made(model: TorchModel) -> None:
    desk = Desk(model, opening())
    desk.chunks(1)
    desk.image(4)
    desk.chunks(2)
    good = desk.document()
    with pytest.raises(ScoreError, match="another model") as caught:
        Replay(model.bundle, good.model_copy(update={"weights": "0" * 16}))
    assert caught.value.code == "other_model"
    assert Replay(model.bundle, good.model_copy(update={"weights": "0" * 16}), any_model=True)
    entries = [e if e.image is None else e.model_copy(update={"image": e.image[:200]}) for e in good.entries]
    with pytest.raises(ScoreError, match="damaged"):
        Replay(model.bundle, good.model_copy(update={"entries": entries}))
    no_budget = [e for e in good.entries if e.sigmas is None]
    with pytest.raises(ScoreError, match="does not say which steps"):
        list(Replay(model.bundle, good.model_copy(update={"entries": no_budget})))
    assert len(list(Replay(model.bundle, good.model_copy(update={"entries": no_budget}), steps=1))) == good.chunks
