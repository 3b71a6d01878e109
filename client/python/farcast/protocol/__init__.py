"""The wire of Farcast as types: every HTTP body and every control message.

The server imports these too, and JSON Schema and AsyncAPI are generated from them. Imports nothing but pydantic.
"""

from __future__ import annotations

from ..errors import ProtocolError
from .base import mix_text
from .client import ClientMessage, Pause, Ping, Prompt, Resume, Rewind, SetDial, Stop
from .dial import Dial, DialChange
from .http import (
    ImageAccepted,
    ModelInfo,
    Problem,
    RenderInfo,
    RenderRequest,
    SessionCreated,
    SessionInfo,
    SessionRequest,
    SessionUrls,
    Vocabulary,
)
from .parse import explain, parse_body, parse_client, parse_request, parse_server, refusal
from .schema import asyncapi, json_schema
from .score import Score, ScoreEntry, ScoreError, parse_score
from .server import (
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
    SessionState,
    Underrun,
)

__all__ = [
    "Chunk",
    "ClientMessage",
    "DeadlineMissed",
    "Dial",
    "DialApplied",
    "DialChange",
    "Error",
    "ImageAccepted",
    "ImageApplied",
    "ModelInfo",
    "Pause",
    "Ping",
    "Pong",
    "Problem",
    "Prompt",
    "PromptApplied",
    "PromptPending",
    "PromptRejected",
    "ProtocolError",
    "RenderInfo",
    "RenderRequest",
    "Resume",
    "Rewind",
    "Score",
    "ScoreEntry",
    "ScoreError",
    "ServerMessage",
    "Session",
    "SessionCreated",
    "SessionInfo",
    "SessionRequest",
    "SessionState",
    "SessionUrls",
    "SetDial",
    "Stop",
    "Underrun",
    "Vocabulary",
    "asyncapi",
    "explain",
    "json_schema",
    "limits",
    "mix_text",
    "parse_body",
    "parse_client",
    "parse_request",
    "parse_score",
    "parse_server",
    "refusal",
]
