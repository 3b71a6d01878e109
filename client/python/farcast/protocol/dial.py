"""The dial: one latency target, and optionally how few and how many steps it may buy."""

from __future__ import annotations

from typing import Annotated

from pydantic import WithJsonSchema, model_validator

from . import limits
from .base import Inbound, integer_schema, invalid, number

Latency = Annotated[
    float,
    number("latency_ms", *limits.LATENCY_MS, " milliseconds"),
    WithJsonSchema({"type": "number", "minimum": limits.LATENCY_MS[0], "maximum": limits.LATENCY_MS[1]}),
]
Floor = Annotated[int, number("floor", *limits.STEPS, " steps", whole=True), integer_schema(*limits.STEPS)]
Ceiling = Annotated[int, number("ceiling", *limits.STEPS, " steps", whole=True), integer_schema(*limits.STEPS)]
FixedSteps = Annotated[int, number("steps", *limits.STEPS, " steps", whole=True), integer_schema(*limits.STEPS)]


def check_order(floor: int | None, ceiling: int | None) -> None:
    """Raise when both bounds are given and cross."""
    if floor is not None and ceiling is not None and floor > ceiling:
        raise invalid(f"`floor` ({floor}) is above `ceiling` ({ceiling}). Lower the floor or raise the ceiling.")


class Dial(Inbound):
    """Where the dial stands.

    latency_ms: prompt-to-pixel target in milliseconds. floor, ceiling: bounds on the steps of a chunk.
    steps: a fixed budget for every chunk instead of the governor's choice, or null.
    """

    latency_ms: Latency = 1500.0
    floor: Floor = 1
    ceiling: Ceiling = 32
    steps: FixedSteps | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Dial:
        check_order(self.floor, self.ceiling)
        return self


class DialChange(Inbound):
    """A move of the dial: what is left out stays as it is. `steps: null` goes back to the governor's choice."""

    latency_ms: Latency | None = None
    floor: Floor | None = None
    ceiling: Ceiling | None = None
    steps: FixedSteps | None = None

    @model_validator(mode="after")
    def _ordered(self) -> DialChange:
        check_order(self.floor, self.ceiling)
        return self

    def merged(self, dial: Dial) -> Dial:
        """`dial` after this move. A bound that would cross the other one, left as it was, takes it along."""
        floor = dial.floor if self.floor is None else self.floor
        ceiling = dial.ceiling if self.ceiling is None else self.ceiling
        if floor > ceiling:
            floor, ceiling = (floor, floor) if self.floor is not None else (ceiling, ceiling)
        return Dial(
            latency_ms=dial.latency_ms if self.latency_ms is None else self.latency_ms,
            floor=floor,
            ceiling=ceiling,
            steps=self.steps if "steps" in self.model_fields_set else dial.steps,
        )
