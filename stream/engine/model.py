"""What the engine needs from a model. `torch_model` gives it the real one; tests give it coloured frames."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from .messages import ModelFacts, Open, Pixels


class Unit(Protocol):
    """One piece of work. `kind`: "prompt", "encode", "step", "append" or "decode"."""

    @property
    def kind(self) -> str: ...
    @property
    def cost_key(self) -> Hashable: ...


class Take(Protocol):
    """One endless take, in units of work. See models.rollout.Rollout."""

    @property
    def chunk(self) -> int: ...
    @property
    def frame(self) -> int: ...
    @property
    def sigma(self) -> float: ...
    @property
    def quick_rewind(self) -> bool: ...
    def next(self) -> Unit: ...
    def run(self, unit: Unit, *, r: float | None = None) -> Pixels | None: ...
    def prompt(self, text: str, *, transition: int = 0) -> None: ...
    def image(self, image: Pixels) -> None: ...
    def restart_chunk(self) -> None: ...
    def rewind(self, chunk: int) -> None: ...


class Model(Protocol):
    """A model that is loaded and warm."""

    @property
    def facts(self) -> ModelFacts: ...
    def open(self, request: Open) -> Take: ...
    def save(self, take: Take) -> bytes | None: ...
    def load(self, blob: bytes) -> Take: ...


class ModelLoadError(Exception):
    """The model cannot be opened. The message says what to do."""

    def __init__(self, message: str, code: str = "model") -> None:
        super().__init__(message)
        self.code = code


class TakeError(Exception):
    """The model refuses what a user asked for. The message says what to do."""

    def __init__(self, message: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.code = code
