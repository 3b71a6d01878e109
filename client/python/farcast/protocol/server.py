"""What the server sends on the control WebSocket. `re` names the client message that is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Outbound
from .dial import Dial

SessionState = Literal["starting", "live", "paused", "recovering", "stopped", "failed"]
"""starting: no frame yet. recovering: the engine is being restarted. stopped, failed: over for good."""


class Session(Outbound):
    """The session as it is now: on connect, on every change of state, and as the answer to pause, resume,
    rewind and stop. `chunk` and `frame`: where the state takes effect (absolute indices from 0)."""

    type: Literal["session"] = "session"
    re: str | None = None
    id: str
    state: SessionState
    width: int
    height: int
    fps: float
    model: str
    prompt: str
    seed: int
    dial: Dial
    chunk: int
    frame: int
    viewers: int
    reason: str | None = None  # why it is paused, recovering, stopped or failed, for people


class PromptPending(Outbound):
    """The prompt was taken and waits for the next chunk. `unknown`: its words that mean nothing to this model, at most
    20 of them; only of models with a closed vocabulary, see GET /v1/model."""

    type: Literal["prompt_pending"] = "prompt_pending"
    re: str
    text: str
    unknown: list[str] | None = None


class PromptApplied(Outbound):
    """The first frame that shows the prompt has left for the viewers. `pts`: its media time in seconds;
    `latency_ms`: from the arrival of the prompt to that frame."""

    type: Literal["prompt_applied"] = "prompt_applied"
    re: str
    text: str
    chunk: int
    frame: int
    pts: float
    latency_ms: float


class PromptRejected(Outbound):
    """The prompt will not be shown. code: "superseded" (a newer one came), "invalid", "stopped", ..."""

    type: Literal["prompt_rejected"] = "prompt_rejected"
    re: str
    text: str
    code: str
    message: str


class DialApplied(Outbound):
    """The dial stands here from `chunk` on.

    kept_ms: the latency that the server really keeps. It is less than the target where the server bounds how much video
    may wait to be shown.
    """

    type: Literal["dial_applied"] = "dial_applied"
    re: str
    dial: Dial
    kept_ms: float | None = None
    chunk: int
    frame: int


class ImageApplied(Outbound):
    """The new shot from an image begins at `frame`. `re` is what POST .../image answered."""

    type: Literal["image_applied"] = "image_applied"
    re: str
    chunk: int
    frame: int


class Chunk(Outbound):
    """A chunk was made. Times in milliseconds; `lead_ms`: video made but not yet played, after this chunk;
    `deadline_ms`: what it had; `realtime_factor`: its playing time over its making time."""

    type: Literal["chunk"] = "chunk"
    index: int
    frame: int
    frames: int
    steps: int
    took_ms: float
    deadline_ms: float
    lead_ms: float
    fps: float
    realtime_factor: float
    prompt: str


class DeadlineMissed(Outbound):
    """A chunk was later than planned."""

    type: Literal["deadline_missed"] = "deadline_missed"
    chunk: int
    late_ms: float


class Underrun(Outbound):
    """The picture stood still for want of frames. `count` so far in this session; `frame`: the one held."""

    type: Literal["underrun"] = "underrun"
    count: int
    frame: int


class Error(Outbound):
    """A message was refused, or something broke. `fatal`: the session is over."""

    type: Literal["error"] = "error"
    re: str | None = None
    code: str
    message: str
    fatal: bool = False


class Pong(Outbound):
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"
    re: str
    t: float


ServerMessage = Annotated[
    Session
    | PromptPending
    | PromptApplied
    | PromptRejected
    | DialApplied
    | ImageApplied
    | Chunk
    | DeadlineMissed
    | Underrun
    | Error
    | Pong,
    Field(discriminator="type"),
]
