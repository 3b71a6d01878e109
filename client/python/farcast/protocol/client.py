"""What a client sends on the control WebSocket. Every message has an `id` and every message is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema, model_validator

from . import limits
from .base import Inbound, MessageId, Mix, PromptText, integer_schema, invalid, mix_text, number
from .dial import DialChange

Transition = Annotated[
    int, number("transition", *limits.TRANSITION, " chunks", whole=True), integer_schema(*limits.TRANSITION)
]
ChunkIndex = Annotated[int, number("chunk", 0, limits.CHUNK_MAX, whole=True), integer_schema(0, limits.CHUNK_MAX)]


class Prompt(Inbound):
    """Show this from the next chunk on. `transition`: blend over so many chunks (0 = at once). Latest wins.
    `mix`: several prompts at once, each with a weight; it takes the place of `text`."""

    type: Literal["prompt"] = "prompt"
    id: MessageId
    text: PromptText | None = None
    mix: Mix | None = None
    transition: Transition = 0

    @model_validator(mode="after")
    def _something(self) -> Prompt:
        if self.text is None and self.mix is None:
            raise invalid("`text` is missing. Give it, or `mix` with several texts and their weights.")
        return self

    @property
    def words(self) -> str:
        """What is asked for, to be read by people; the answers carry it as `text`."""
        return mix_text(self.mix) if self.mix is not None else self.text or ""


class SetDial(DialChange):
    """Move the dial; fields left out stay. Answered by `dial_applied`."""

    type: Literal["dial"] = "dial"
    id: MessageId

    def dump(self) -> str:
        """Only what was set, so that `steps: null` (back to the governor) differs from leaving steps alone."""
        return self.model_dump_json(include={"type", *self.model_fields_set})


class Pause(Inbound):
    """Stop making and showing frames; the context stays. Answered by `session`."""

    type: Literal["pause"] = "pause"
    id: MessageId


class Resume(Inbound):
    """Go on after a pause. Answered by `session`."""

    type: Literal["resume"] = "resume"
    id: MessageId


class Rewind(Inbound):
    """Forget everything from chunk `chunk` on and make it anew. Answered by `session`."""

    type: Literal["rewind"] = "rewind"
    id: MessageId
    chunk: ChunkIndex


class Stop(Inbound):
    """End the session. Answered by `session` with state "stopped"."""

    type: Literal["stop"] = "stop"
    id: MessageId


class Ping(Inbound):
    """Answered at once by `pong` with the same `t` (any number, usually the sender's clock)."""

    type: Literal["ping"] = "ping"
    id: MessageId
    t: Annotated[float, number("t", -1e18, 1e18), WithJsonSchema({"type": "number"})] = 0.0


ClientMessage = Annotated[
    Prompt | SetDial | Pause | Resume | Rewind | Stop | Ping,
    Field(discriminator="type"),
]
