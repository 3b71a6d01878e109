"""What the engine needs from a model, as protocols. `torch_backend` gives it the real one, tests coloured frames.

Every error meant for a user is a `models.errors.FarcastError`: it refuses the request that caused it, with its words.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from stream.types import Mix, Pixels

from .protocol import ModelFacts, Open


class Unit(Protocol):
    """One piece of work. `kind`: "prompt", "encode", "step", "append" or "decode"."""

    @property
    def kind(self) -> str: ...
    @property
    def cost_key(self) -> Hashable: ...


class PendingPrompt(Protocol):
    """A prompt asked for and not in force yet: texts with their weights, blended in over `transition` chunks."""

    @property
    def parts(self) -> Mix: ...
    @property
    def transition(self) -> int: ...


class RolloutBackend(Protocol):
    """One endless rollout, in units of work (`models.rollout.rollout`).

    cheap_rewind_from: the earliest chunk that `rewind` reaches without decoding anything again. pending_prompt: the
    prompt that the next unit of kind "prompt" puts in force. pending_image: the picture that waits for the next chunk,
    (H, W, 3). rebuilt: what was computed again when it was loaded from a snapshot ("context", "all" or "").
    `run` returns the chunk's frames for "decode", (n, H, W, 3), else None.
    """

    @property
    def chunk(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def sigma(self) -> float: ...
    @property
    def cheap_rewind_from(self) -> int: ...
    @property
    def pending_prompt(self) -> PendingPrompt | None: ...
    @property
    def pending_image(self) -> Pixels | None: ...
    @property
    def rebuilt(self) -> str: ...
    def next(self) -> Unit: ...
    def run(self, unit: Unit, *, r: float | None = None) -> Pixels | None: ...
    def prompt(self, text: str | Mix, *, transition: int = 0) -> None: ...
    def image(self, image: Pixels) -> None: ...
    def restart_chunk(self) -> None: ...
    def rewind(self, chunk: int) -> None: ...


class Model(Protocol):
    """A model that is loaded and warm. `save` returns None where a rollout cannot be saved."""

    @property
    def facts(self) -> ModelFacts: ...
    def open(self, request: Open) -> RolloutBackend: ...
    def save(self, rollout: RolloutBackend) -> bytes | None: ...
    def load(self, blob: bytes) -> RolloutBackend: ...
