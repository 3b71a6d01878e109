"""A backend without torch: frames in the colour the prompt names, at a cost that a test chooses.

A chunk is 12 frames; the frame's index is painted into its first pixels (see `read_index`), so a test can tell which
frame it sees. Options come in the model's name: "fake?step=0.02&decode=0.01"; `size=128`, `height=64` where it is not
square, `rich=1` for pictures that cost an encoder bits, `too_many=50` for renders that fail at so many steps.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qs

import numpy as np
from farcast.protocol import Score, ScoreError
from PIL import Image

from stream.engine.backend import ModelLoadError, RequestRefused
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
def cloth(size: int) -> Pixels:
    rng = np.random.default_rng(7)
    threads = Image.fromarray(rng.integers(0, 255, (size // 4, size // 4, 3), dtype=np.uint8))
    return np.asarray(threads.resize((2 * size, 2 * size), Image.Resampling.BICUBIC))


def rich(size: int, colour: tuple[int, int, int], index: int) -> Pixels:
    """A window that wanders over a cloth: a picture that costs bits, so that an encoder uses the rate it is given."""
    wide = cloth(size)
    x = int((np.sin(index / 9) + 1) / 2 * size * 0.9)
    y = int((np.cos(index / 13) + 1) / 2 * size * 0.9)
    return np.ascontiguousarray(wide[y : y + size, x : x + size])


class FakeTake:
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
        self.picture = image
        self.decoded = False
        self.history: list[int] = []

    def next(self) -> FakeUnit:
        if self.sigma == 1.0 and self.wanted is not None:
            return FakeUnit("prompt")
        if self.sigma == 1.0 and self.picture is not None:
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
            if "die" in self.wanted.split():
                os._exit(3)
            self.colour = mixed(self.mix) if self.mix else colour_of(self.wanted)
            self.wanted = None
        elif unit.kind == "encode":
            assert self.picture is not None
            self.colour = tuple(int(c) for c in self.picture.mean((0, 1)))  # type: ignore[assignment]
            self.picture = None
        elif unit.kind == "step":
            assert r is not None
            assert 0.0 <= r < self.sigma
            self.sigma = r
        elif unit.kind == "decode":
            self.decoded = True
            count = CHUNK if self.chunk else 1
            size, height = self.model.facts.width, self.model.facts.height
            frames = [self.model.paint(size, self.colour, self.frame + i)[-height:] for i in range(count)]
            return np.stack(frames)
        else:
            self.history.append(self.frame)
            self.frame += CHUNK if self.chunk else 1
            self.chunk += 1
            self.sigma, self.decoded = 1.0, False
        return None

    @property
    def opens(self) -> PromptApplied | None:
        return None if self.wanted is None else PromptApplied(((self.wanted, 1.0),), self.transition)

    @property
    def shot(self) -> Pixels | None:
        return self.picture

    def prompt(self, text: str | Mix, *, transition: int = 0) -> None:
        self.mix = () if isinstance(text, str) else text
        if not isinstance(text, str):
            text = max(text, key=lambda part: part[1])[0]
        self.transition = transition
        if "forbidden" in text:
            raise RequestRefused("This prompt is forbidden. Ask for something else.", "invalid_prompt")
        self.wanted = text

    def image(self, image: Pixels) -> None:
        self.picture = image

    def restart_chunk(self) -> None:
        self.sigma = 1.0

    def rewind(self, chunk: int) -> None:
        if chunk > self.chunk:
            raise RequestRefused(f"Chunk {chunk} is not made yet.", "invalid_chunk")
        if chunk < self.chunk:
            self.chunk, self.frame = chunk, self.history[chunk]
            del self.history[chunk:]
        self.sigma, self.decoded = 1.0, False


class FakeModel:
    def __init__(self, size: int, costs: dict[str, float], height: int | None = None) -> None:
        self.costs = costs
        self.paint = paint
        self.facts = ModelFacts("fake", size, height or size, 16.0, CHUNK, EXAMPLES, "cpu", 5.0)

    def open(self, request: Open) -> FakeTake:
        if "forbidden" in request.prompt:
            raise RequestRefused("This prompt is forbidden. Ask for something else.", "invalid_prompt")
        return FakeTake(self, request.prompt, request.image if request.clip is None else request.clip[-1])

    def save(self, take: FakeTake) -> bytes | None:
        state = {"chunk": take.chunk, "frame": take.frame, "colour": take.colour, "history": take.history}
        return json.dumps(state).encode()

    def load(self, blob: bytes) -> FakeTake:
        state = json.loads(blob)
        take = FakeTake(self, "")
        take.wanted = None
        take.chunk, take.frame, take.history = state["chunk"], state["frame"], state["history"]
        take.colour = tuple(state["colour"])
        return take


def open_model(source: str | None, device: str, threads: int, execution: str = "eager") -> FakeModel:
    name, _, query = (source or "fake").partition("?")
    if name == "broken":
        raise ModelLoadError("The fake model is broken. Use another.", "invalid_model")
    options = {key: float(values[0]) for key, values in parse_qs(query).items()}
    size = int(options.pop("size", 64))
    time.sleep(options.pop("load", 0.0))
    model = FakeModel(size, options, int(options.pop("height", size)))
    if options.pop("rich", 0.0):
        model.paint = rich
    return model


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
        if steps == options.get("too_many"):
            raise ScoreError("The device ran out of memory; render with fewer steps.", code="out_of_memory")
        if "die" in take.prompt_words:
            os._exit(3)
        for chunk in range(take.chunks):
            time.sleep(options.get("render", 0.0) * (steps or 1))
            count = CHUNK if chunk else 1
            pictures = [paint(take.width, colour_of(take.prompt_words), i)[-take.height :] for i in range(count)]
            yield FakeChunk(np.stack(pictures), True if steps is None else None)

    return render
