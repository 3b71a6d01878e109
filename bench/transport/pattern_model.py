"""A test pattern in place of a model: every frame carries its number, so that whoever sees it knows which one it is.

For measuring everything but the model, as `farcast bench transport` does:
`farcast serve --engine bench.transport.pattern_model:open_model --model "pattern?width=832&height=480"`.
The number is a strip of blocks along the upper edge, black or white, and the same inverted below (see `read_number`).
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from urllib.parse import parse_qs

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from stream.engine.backend import Clock, UnitTimer
from stream.engine.device_queue import ImmediateTimer
from stream.engine.protocol import ModelFacts, Open, PromptApplied
from stream.types import Mix, Pixels

BITS = 16
CHUNK = 12
FPS = 16.0


def block(width: int) -> int:
    """Edge of a block of the strip, in pixels."""
    return width // BITS


class Painter:
    """Moving things on a moving ground: about as hard to encode as a film."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        y, x = np.mgrid[0:height, 0 : 2 * width].astype(np.float32)
        grain = np.random.default_rng(0).normal(0.0, 6.0, (height, 2 * width)).astype(np.float32)
        wave = 128 + 60 * np.sin(2 * np.pi * x / width) * np.cos(2 * np.pi * y / height) + grain
        ground = np.stack([wave, 255 - wave, 128 + (x / width - 1) * 60 + grain], axis=-1)
        self._ground: Pixels = ground.clip(0, 255).astype(np.uint8)
        self._y, self._x = y[:, :width], x[:, :width]

    def frame(self, number: int) -> Pixels:
        """The picture of this number (modulo 2**BITS), (H, W, 3)."""
        width, height = self.width, self.height
        shift = number * 2 % width
        picture = self._ground[:, shift : shift + width].copy()
        radius = height / 6
        for k, colour in enumerate(((230, 40, 40), (40, 200, 60), (40, 70, 230))):
            angle = number / (20 + 9 * k) + 2 * k
            cx, cy = width * (0.5 + 0.35 * np.cos(angle)), height * (0.55 + 0.3 * np.sin(1.3 * angle))
            picture[(self._x - cx) ** 2 + (self._y - cy) ** 2 < radius**2] = colour
        edge = block(width)
        for i in range(BITS):
            bit = number >> i & 1
            picture[:edge, i * edge : (i + 1) * edge] = 235 * bit + 10
            picture[edge : 2 * edge, i * edge : (i + 1) * edge] = 235 * (1 - bit) + 10
        return picture


def read_number(picture: Pixels) -> int | None:
    """The number a frame carries, after whatever a codec did to it; None when it cannot be read."""
    edge = block(picture.shape[1])
    grey = picture.mean(axis=-1)
    centres = np.arange(BITS) * edge + edge // 2
    near = slice(edge // 2 - edge // 4, edge // 2 + edge // 4 + 1)
    above: NDArray[np.float64] = np.stack([grey[near, c] for c in centres]).mean(axis=1)
    below: NDArray[np.float64] = np.stack([grey[edge:][near, c] for c in centres]).mean(axis=1)
    if np.any(np.abs(above - below) < 40):
        return None
    return int(sum(1 << i for i in range(BITS) if above[i] > below[i]))


@dataclass(frozen=True)
class PatternUnit:
    kind: str
    cost_key: Hashable = ()


class PatternRollout:
    """One step, one decode, one append a chunk; prompts and pictures are taken, and change nothing."""

    cheap_rewind_from = 0
    rebuilt = ""
    pending_image = None

    def __init__(self, model: PatternModel, text: str | None) -> None:
        self.model = model
        self.chunk = self.frame = 0
        self.sigma = 1.0
        self.pending_prompt = None if text is None else PromptApplied(((text, 1.0),), 0)
        self._decoded = False

    def next(self) -> PatternUnit:
        if self.sigma == 1.0 and self.pending_prompt is not None:
            return PatternUnit("prompt")
        if self.sigma > 0:
            return PatternUnit("step")
        return PatternUnit("append" if self._decoded else "decode")

    def run(self, unit: PatternUnit, *, r: float | None = None) -> Pixels | None:
        count = CHUNK if self.chunk else 1
        if unit.kind == "prompt":
            self.pending_prompt = None
        elif unit.kind == "step":
            assert r is not None
            self.sigma = r
        elif unit.kind == "decode":
            self._decoded = True
            return np.stack([self.model.painter.frame(self.frame + i) for i in range(count)])
        else:
            self.frame += count
            self.chunk += 1
            self.sigma, self._decoded = 1.0, False
        return None

    def prompt(self, text: str | Mix, *, transition: int = 0) -> None:
        self.pending_prompt = PromptApplied(((text, 1.0),) if isinstance(text, str) else text, transition)

    def image(self, image: Pixels) -> None:
        pass

    def check_prompt(self, text: str | Mix) -> None:
        pass

    def cancel_prompt(self) -> None:
        self.pending_prompt = None

    def cancel_image(self) -> None:
        pass

    def restart_chunk(self) -> None:
        self.sigma = 1.0

    def rewind(self, chunk: int) -> None:
        self.chunk, self.frame = chunk, max(0, 1 + (chunk - 1) * CHUNK)
        self.sigma, self._decoded = 1.0, False


class PatternModel:
    def __init__(self, width: int, height: int) -> None:
        self.painter = Painter(width, height)
        self.facts = ModelFacts("test pattern", width, height, FPS, CHUNK, ("a test pattern",), "cpu")

    def open(self, request: Open) -> PatternRollout:
        return PatternRollout(self, request.prompt)

    def save(self, rollout: PatternRollout) -> bytes | None:
        return json.dumps({"chunk": rollout.chunk, "frame": rollout.frame}).encode()

    def timer(self, clock: Clock) -> UnitTimer:
        return ImmediateTimer(clock)

    def out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def free_memory(self) -> None:
        pass

    def load(self, blob: bytes) -> PatternRollout:
        rollout = PatternRollout(self, None)
        state = json.loads(blob)
        rollout.chunk, rollout.frame = state["chunk"], state["frame"]
        return rollout


def open_model(source: str | None, device: str, threads: int, execution: str = "eager") -> PatternModel:
    """ "pattern?width=256&height=256". Raises ModelError."""
    options = parse_qs((source or "").partition("?")[2])
    try:
        width, height = (int(options.get(name, ["256"])[0]) for name in ("width", "height"))
    except ValueError:
        raise ModelError("The pattern's width and height must be numbers.") from None
    if width % 16 or height % 16 or not 64 <= width <= 4096 or not 64 <= height <= 4096:
        raise ModelError("The pattern's width and height must be multiples of 16 from 64 to 4096.")
    return PatternModel(width, height)
