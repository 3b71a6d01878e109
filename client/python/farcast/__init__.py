"""Farcast: live video you can steer, from Python.

    async with farcast.connect("http://127.0.0.1:8000", prompt="a red circle bouncing on a navy background") as live:
        async for frame in live.frames():
            ...                                   # frame.image: (height, width, 3) uint8
        await live.prompt("a blue star spinning on a cream background")   # returns when it is on screen

`farcast.sync` is the same without `async`, for notebooks and scripts. Names are loaded when first used, so that
importing `farcast.protocol` alone does not bring in WebRTC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"  # of both distributions, farcast and farcast-server

if TYPE_CHECKING:
    from . import events, protocol, sync
    from .client import connect
    from .errors import (
        AnswerTimeout,
        CommandFailed,
        ConnectionFailed,
        FarcastError,
        MediaFailed,
        PromptRejected,
        ProtocolError,
        RenderFailed,
        RequestRefused,
        SessionEnded,
    )
    from .live import Live, Stats
    from .media.frames import Frame
    from .protocol import Dial

_HOME = {
    "connect": "client",
    **dict.fromkeys(("Live", "Stats"), "live"),
    "Frame": "media.frames",
    "Dial": "protocol",
    **dict.fromkeys(
        (
            "AnswerTimeout", "CommandFailed", "ConnectionFailed", "FarcastError", "MediaFailed", "PromptRejected",
            "ProtocolError", "RenderFailed", "RequestRefused", "SessionEnded",
        ),
        "errors",
    ),
}  # fmt: skip
__all__ = [
    "AnswerTimeout",
    "CommandFailed",
    "ConnectionFailed",
    "Dial",
    "FarcastError",
    "Frame",
    "Live",
    "MediaFailed",
    "PromptRejected",
    "ProtocolError",
    "RenderFailed",
    "RequestRefused",
    "SessionEnded",
    "Stats",
    "__version__",
    "connect",
    "events",
    "protocol",
    "sync",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in ("events", "protocol", "sync"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'farcast' has no attribute {name!r}")
