"""What all messages share: strictness, field types with human messages, and how a message becomes text."""

from __future__ import annotations

import math
import unicodedata
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
    """A prompt as the model will read it: trimmed, 1..2000 characters, no control characters."""
    if not isinstance(value, str):
        raise invalid(f"The prompt must be text, not {type(value).__name__}.")
    text = value.strip()
    if len(text) > limits.PROMPT_CHARS:
        raise invalid(f"The prompt has {len(text)} characters; the most is {limits.PROMPT_CHARS}. Shorten it.")
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in text):
        raise invalid("The prompt contains control characters. Send plain text.")
    # Zero-width characters alone are as empty as spaces: nothing the model could draw.
    if not any(unicodedata.category(c)[0] not in "CZ" for c in text):
        raise invalid("The prompt is empty. Describe what the video should show.")
    return text


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
