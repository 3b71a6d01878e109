"""What happens in a live session, as types: the server's messages, and what only this side knows."""

from __future__ import annotations

from dataclasses import dataclass

from .protocol import (
    Chunk,
    DeadlineMissed,
    DialApplied,
    Error,
    ImageApplied,
    Pong,
    PromptApplied,
    PromptPending,
    PromptRejected,
    ServerMessage,
    Session,
    Underrun,
)


@dataclass(frozen=True)
class Disconnected:
    """The control socket or the video broke; the client is trying again. `part`: "control" or "media"."""

    part: str
    reason: str


@dataclass(frozen=True)
class Reconnected:
    """That part is back after `seconds`."""

    part: str
    seconds: float


Event = ServerMessage | Disconnected | Reconnected

__all__ = [
    "Chunk",
    "DeadlineMissed",
    "DialApplied",
    "Disconnected",
    "Error",
    "Event",
    "ImageApplied",
    "Pong",
    "PromptApplied",
    "PromptPending",
    "PromptRejected",
    "Reconnected",
    "Session",
    "Underrun",
]
