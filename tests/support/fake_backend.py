"""A backend without torch: frames in the colour the prompt names, at a cost that a test chooses.

A chunk is 12 frames; the frame's index is painted into its first pixels (see `read_index`), so a test can tell which
frame it sees. Options come in the model's name: "fake?step=0.02&decode=0.01"; `size=128`, `height=64` where it is not
square, `rich=1` for a texture in motion that costs an encoder bits, `too_many=50` for renders that fail at so many
steps.

Words in a prompt cause faults: "forbidden" is refused at once; in the unit that takes it up, "late" is refused,
"explode" is an error of the model, "die" ends the process, "hang" never returns, and "memory" is an error of memory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from farcast.protocol import Score, ScoreError
from PIL import Image

from models.checkpoint.vocabulary import Vocabulary
from models.errors import ModelError, PromptError, RequestError
from stream.engine.backend import Clock, UnitTimer
from stream.engine.device_queue import ImmediateTimer
from stream.engine.protocol import ModelFacts, Open, PromptApplied
from stream.types import Mix, Pixels

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220), "white": (240, 240, 240)}
GREY = (128, 128, 128)
EXAMPLES = (
    "a big red circle bouncing on a navy background",
    "a small yellow star spinning on a black background",
    "a green square drifting on a white background",
    "a blue triangle orbiting on a gray background",
)
Colour = tuple[int, int, int]
CHUNK = 12


@dataclass(frozen=True)
class FakeUnit:
    kind: str
    cost_key: Hashable = ()


def colour_of(text: str) -> Colour:
    return next((rgb for name, rgb in COLOURS.items() if name in text), GREY)


def mixed(mix: Mix) -> Colour:
    """The colours of several prompts, by weight."""
    r, g, b = sum(weight * np.array(colour_of(text)) for text, weight in mix) / sum(weight for _, weight in mix)
    return int(r), int(g), int(b)


def paint(size: int, colour: tuple[int, int, int], index: int) -> Pixels:
    """A flat picture with a moving bar, so that every frame differs."""
    frame = np.empty((size, size, 3), np.uint8)
    frame[:] = colour
    x = index * 3 % size
    frame[size - 8 :, x : x + 8] = 255
    return frame


@cache
def texture(size: int) -> Pixels:
    rng = np.random.default_rng(7)
    threads = Image.fromarray(rng.integers(0, 255, (size // 4, size // 4, 3), dtype=np.uint8))
    return np.asarray(threads.resize((2 * size, 2 * size), Image.Resampling.BICUBIC))


def rich(size: int, colour: tuple[int, int, int], index: int) -> Pixels:
    """A window that wanders over a texture; the colour plays no part."""
    wide = texture(size)
    x = int((np.sin(index / 9) + 1) / 2 * size * 0.9)
    y = int((np.cos(index / 13) + 1) / 2 * size * 0.9)
    return np.ascontiguousarray(wide[y : y + size, x : x + size])


class FakeRollout:
    cheap_rewind_from = 0
    rebuilt = ""
    transition = 0

    def __init__(self, model: FakeModel, text: str, image: Pixels | None = None) -> None:
        self.model = model
        self.chunk = self.frame = 0
        self.sigma = 1.0
        self.colour = GREY
        self.wanted: str | None = text
        self.mix: Mix = ()  # in place of `wanted`, which then is its heaviest prompt
        self.pending_image = image
        self.decoded = False
        self.history: list[int] = []

    def next(self) -> FakeUnit:
        if self.sigma == 1.0 and self.wanted is not None:
            return FakeUnit("prompt")
        if self.sigma == 1.0 and self.pending_image is not None:
            return FakeUnit("encode")
        if self.sigma > 0:
            return FakeUnit("step")
        return FakeUnit("append" if self.decoded else "decode")

    def run(self, unit: FakeUnit, *, r: float | None = None) -> Pixels | None:
        time.sleep(self.model.costs.get(unit.kind, 0.0))
        if unit.kind == "prompt":
            assert self.wanted is not None
            if "explode" in self.wanted:
                raise RuntimeError("the fake model explodes")
            words = self.wanted.split()
            if "late" in words:
                raise PromptError("This prompt cannot be encoded.")
            if "die" in words:
                os._exit(3)
            if "memory" in words:
                raise MemoryError("the fake model has none left")
            while "hang" in words:
                time.sleep(1.0)
            self.colour = mixed(self.mix) if self.mix else colour_of(self.wanted)
            self.wanted = None
        elif unit.kind == "encode":
            assert self.pending_image is not None
            self.colour = tuple(int(c) for c in self.pending_image.mean((0, 1)))  # type: ignore[assignment]
            self.pending_image = None
        elif unit.kind == "step":
            assert r is not None
            assert 0.0 <= r < self.sigma
            self.sigma = r
        elif unit.kind == "decode":
            self.decoded = True
            count = CHUNK if self.chunk else 1
            facts, colour, first = self.model.facts, self.colour, self.frame
            frames = [self.model.paint(facts.width, colour, first + i)[-facts.height :] for i in range(count)]
            return np.stack(frames)
        else:
            self.history.append(self.frame)
            self.frame += CHUNK if self.chunk else 1
            self.chunk += 1
            self.sigma, self.decoded = 1.0, False
        return None

    @property
    def pending_prompt(self) -> PromptApplied | None:
        return None if self.wanted is None else PromptApplied(((self.wanted, 1.0),), self.transition)

    def prompt(self, text: str | Mix, *, transition: int = 0) -> None:
        self.mix = () if isinstance(text, str) else text
        if not isinstance(text, str):
            text = max(text, key=lambda part: part[1])[0]
        self.check_prompt(text)
        self.transition = transition
        self.wanted = text

    def check_prompt(self, text: str | Mix) -> None:
        if "forbidden" in str(text):
            raise PromptError("This prompt is forbidden. Ask for something else.")

    def cancel_prompt(self) -> None:
        self.wanted, self.mix = None, ()

    def cancel_image(self) -> None:
        self.pending_image = None

    def image(self, image: Pixels) -> None:
        self.pending_image = image

    def restart_chunk(self) -> None:
        self.sigma = 1.0

    def rewind(self, chunk: int) -> None:
        if chunk > self.chunk:
            raise RequestError(f"Chunk {chunk} is not made yet.", code="invalid_chunk")
        if chunk < self.chunk:
            self.chunk, self.frame = chunk, self.history[chunk]
            del self.history[chunk:]
        self.sigma, self.decoded = 1.0, False


# What a model with a closed vocabulary says of itself: "fake?closed=1".
CLOSED: dict[str, Any] = {
    "guidance_range": (1.0, 1.5),
    "steps": 4,
    "vocabulary": Vocabulary(
        {"colour": ("red", "blue"), "shape": ("circle", "star")}, "a {colour} {shape}", {"circle": ("ball",)}, ("a",)
    ),
}


class FakeModel:
    def __init__(
        self, size: int, costs: dict[str, float], *, height: int | None = None, textured: bool = False,
        limits: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.costs = costs
        self.paint = rich if textured else paint
        self.facts = ModelFacts(
            "fake", size, height or size, 16.0, CHUNK, EXAMPLES, "cpu", 5.0, **(limits or {})
        )

    def open(self, request: Open) -> FakeRollout:
        if "forbidden" in request.prompt:
            raise PromptError("This prompt is forbidden. Ask for something else.")
        return FakeRollout(self, request.prompt, request.image if request.clip is None else request.clip[-1])

    def save(self, rollout: FakeRollout) -> bytes | None:
        state = {"chunk": rollout.chunk, "frame": rollout.frame, "colour": rollout.colour, "history": rollout.history}
        return json.dumps(state).encode()

    def timer(self, clock: Clock) -> UnitTimer:
        return ImmediateTimer(clock)

    def out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def free_memory(self) -> None:
        pass

    def load(self, blob: bytes) -> FakeRollout:
        state = json.loads(blob)
        rollout = FakeRollout(self, "")
        rollout.wanted = None
        rollout.chunk, rollout.frame, rollout.history = state["chunk"], state["frame"], state["history"]
        rollout.colour = tuple(state["colour"])
        return rollout


def open_model(source: str | None, device: str, threads: int, execution: str = "eager") -> FakeModel:
    name, _, query = (source or "fake").partition("?")
    if name == "broken":
        raise ModelError("The fake model is broken. Use another.")
    options = {key: float(values[0]) for key, values in parse_qs(query).items()}
    size = int(options.pop("size", 64))
    time.sleep(options.pop("load", 0.0))
    height, textured = int(options.pop("height", size)), bool(options.pop("rich", 0.0))
    limits = CLOSED if options.pop("closed", 0.0) else None
    return FakeModel(size, options, height=height, textured=textured, limits=limits)


@dataclass(frozen=True)
class FakeChunk:
    frames: Pixels
    exact: bool | None


def open_renderer(source: str | None, device: str, threads: int, score: Score) -> Callable[..., Iterator[FakeChunk]]:
    """What a server over this model renders takes with: as many frames, at a cost for each step."""
    options = {key: float(values[0]) for key, values in parse_qs((source or "").partition("?")[2]).items()}

    def render(take: Score, steps: int | None) -> Iterator[FakeChunk]:
        if "unrenderable" in take.prompt_words:
            raise ScoreError("The score was made with another model.", code="other_model")
        if steps is not None and steps == options.get("too_many"):
            raise ScoreError("The device ran out of memory; render with fewer steps.", code="out_of_memory")
        if "die" in take.prompt_words:
            os._exit(3)
        for chunk in range(take.chunks):
            time.sleep(options.get("render", 0.0) * (steps or 1))
            count = CHUNK if chunk else 1
            pictures = [paint(take.width, colour_of(take.prompt_words), i)[-take.height :] for i in range(count)]
            yield FakeChunk(np.stack(pictures), True if steps is None else None)

    return render
