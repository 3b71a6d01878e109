"""What all messages share: strictness, field types with human messages, and how a message becomes text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from . import limits


def invalid(message: str, *, code: str = "invalid") -> PydanticCustomError:
    """An error whose text reaches the user as it stands. Braces are doubled: pydantic formats the template."""
    return PydanticCustomError(code, message.replace("{", "{{").replace("}", "}}"))


def shown(value: Any) -> str:
    """`value` for a message: short, whatever was sent."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def check_prompt(value: Any) -> str:
    """A prompt as the model will read it: trimmed, in NFC (UAX 15), 1..2000 characters, no control characters."""
    if not isinstance(value, str):
        raise invalid(f"The prompt must be text, not {type(value).__name__}.")
    text = unicodedata.normalize("NFC", value.strip()) if len(value) <= limits.MESSAGE_BYTES else value
    if len(text) > limits.PROMPT_CHARS:
        raise invalid(f"The prompt has {len(text)} characters; the most is {limits.PROMPT_CHARS}. Shorten it.")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in text):
        raise invalid("The prompt contains control characters. Send plain text.")
    # Zero-width characters alone are as empty as spaces: nothing the model could draw.
    if not any(unicodedata.category(c)[0] not in "CZ" for c in text):
        raise invalid("The prompt is empty. Describe what the video should show.")
    return text


def check_mix(value: Any) -> list[tuple[str, float]]:
    """A weighted mix as it will be used: 1..4 pairs of prompt and weight, the weights made to sum to 1."""
    pairs = check_pairs(value)
    total = sum(weight for _, weight in pairs)
    return [(text, weight / total) for text, weight in pairs]


def check_pairs(value: Any) -> list[tuple[str, float]]:
    """1..4 pairs of prompt and weight, the weights as they are."""
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= limits.MIX_ENTRIES:
        raise invalid(f"`mix` must be a list of 1 to {limits.MIX_ENTRIES} pairs [text, weight]; got {shown(value)}.")
    pairs: list[tuple[str, float]] = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise invalid(f"Each entry of `mix` must be a pair [text, weight]; got {shown(pair)}.")
        text, weight = check_prompt(pair[0]), pair[1]
        good = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not good or not 0 <= weight <= limits.MIX_WEIGHT:
            raise invalid(f"A weight in `mix` must be a number from 0 to {limits.MIX_WEIGHT:g}; got {shown(weight)}.")
        pairs.append((text, float(weight)))
    if sum(weight for _, weight in pairs) < 1e-9:
        raise invalid("All weights in `mix` are 0. Give at least one prompt a weight above 0.")
    return pairs


def mix_text(mix: Sequence[tuple[str, float]]) -> str:
    """A mix in words: "0.70 a red circle + 0.30 a blue star". What has no weight is not named."""
    parts = [(text, weight) for text, weight in mix if weight > 0]
    if len(parts) == 1:
        return parts[0][0]
    return " + ".join(f"{weight:.2f} {text}" for text, weight in parts)


def check_id(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= limits.ID_CHARS:
        raise invalid(f"`id` must be a text of 1 to {limits.ID_CHARS} characters, chosen by you; got {shown(value)}.")
    if not value.isprintable():
        raise invalid("`id` must be printable text.")
    return value


def number(name: str, low: float, high: float, unit: str = "", *, whole: bool = False) -> BeforeValidator:
    """A validator for a finite number in [low, high]; `whole` = an integer. Booleans and texts are not numbers."""

    def check(value: Any) -> Any:
        kind = "a whole number" if whole else "a number"
        good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if good and not whole:
            try:
                good = math.isfinite(float(value))
            except OverflowError:
                good = False
        if not good or not low <= value <= high:
            span = f"from {low:.16g} to {high:.16g}{unit}"
            raise invalid(f"`{name}` must be {kind} {span}; got {shown(value)}.")
        return value if whole else float(value)

    return BeforeValidator(check)


def integer_schema(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


PromptText = Annotated[
    str,
    BeforeValidator(check_prompt),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": limits.PROMPT_CHARS}),
]
_MIX_SCHEMA = WithJsonSchema(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.MIX_ENTRIES,
        "items": {
            "type": "array",
            "prefixItems": [
                {"type": "string", "minLength": 1, "maxLength": limits.PROMPT_CHARS},
                {"type": "number", "minimum": 0, "maximum": limits.MIX_WEIGHT},
            ],
            "minItems": 2,
            "maxItems": 2,
        },
    }
)
Mix = Annotated[list[tuple[str, float]], BeforeValidator(check_mix), _MIX_SCHEMA]
Pairs = Annotated[list[tuple[str, float]], BeforeValidator(check_pairs), _MIX_SCHEMA]
MessageId = Annotated[
    str,
    BeforeValidator(check_id),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": limits.ID_CHARS}),
]


class Message(BaseModel):
    """Anything on the wire. Immutable; floats are finite."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    def dump(self) -> str:
        """This message as JSON text; fields without a value are left out."""
        return self.model_dump_json(exclude_none=True)


class Inbound(Message):
    """A message a client sends: no unknown fields, no silent conversions."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="forbid", strict=True)


class Outbound(Message):
    """A message the server sends: readers ignore fields they do not know, so that a newer server works."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="ignore")
