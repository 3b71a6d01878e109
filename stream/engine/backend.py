"""What the engine needs from a model. `torch_model` gives it the real one; tests give it coloured frames."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from stream.types import Mix, Pixels

from .protocol import ModelFacts, Open, PromptApplied


class Unit(Protocol):
    """One piece of work. `kind`: "prompt", "encode", "step", "append" or "decode"."""

    @property
    def kind(self) -> str: ...
    @property
    def cost_key(self) -> Hashable: ...


class RolloutBackend(Protocol):
    """One endless rollout, in units of work (`models.rollout.rollout`).

    cheap_rewind_from: the earliest chunk that `rewind` reaches without decoding anything again. opens: the prompt that
    the next unit of kind "prompt" puts in force, None when it stays as it is. shot: the image that waits for the next
    chunk. rebuilt: what was computed again when it was loaded from a snapshot ("context", "all" or "").
    """

    @property
    def chunk(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def sigma(self) -> float: ...
    @property
    def cheap_rewind_from(self) -> int: ...
    def next(self) -> Unit: ...
    def run(self, unit: Unit, *, r: float | None = None) -> Pixels | None: ...
    @property
    def opens(self) -> PromptApplied | None: ...
    @property
    def shot(self) -> Pixels | None: ...
    @property
    def rebuilt(self) -> str: ...
    def prompt(self, text: str | Mix, *, transition: int = 0) -> None: ...
    def image(self, image: Pixels) -> None: ...
    def restart_chunk(self) -> None: ...
    def rewind(self, chunk: int) -> None: ...


class Model(Protocol):
    """A model that is loaded and warm."""

    @property
    def facts(self) -> ModelFacts: ...
    def open(self, request: Open) -> RolloutBackend: ...
    def save(self, take: RolloutBackend) -> bytes | None: ...
    def load(self, blob: bytes) -> RolloutBackend: ...


class ModelLoadError(Exception):
    """The model cannot be opened. The message says what to do."""

    def __init__(self, message: str, code: str = "model") -> None:
        super().__init__(message)
        self.code = code


class RequestRefused(Exception):
    """The model refuses what a user asked for. The message says what to do."""

    def __init__(self, message: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.code = code
