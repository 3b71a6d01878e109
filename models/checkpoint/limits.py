"""What a `farcast.json` says a checkpoint is good for: step count, guidance, vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.checkpoint.vocabulary import Vocabulary
from models.errors import ModelError

MAX_STEPS = 50


def read_limits(card: Mapping[str, Any]) -> dict[str, Any]:
    """`steps`, `guidance_range` and `vocabulary` of a card, None where it does not say. Raises ModelError."""
    steps, span = card.get("steps"), card.get("guidance_range")
    if steps is not None and not (type(steps) is int and 1 <= steps <= MAX_STEPS):
        raise ModelError(f"its steps is {steps!r}; it must be a whole number from 1 to {MAX_STEPS}")
    if span is not None:
        numbers = isinstance(span, list) and len(span) == 2 and all(type(end) in (int, float) for end in span)
        if not numbers or not 1 <= span[0] <= span[1]:
            raise ModelError(f"its guidance_range is {span!r}; it must be two numbers from 1 on, the smaller first")
        span = float(span[0]), float(span[1])
    return {"steps": steps, "guidance_range": span, "vocabulary": Vocabulary.from_card(card)}
