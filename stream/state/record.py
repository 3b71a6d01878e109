"""What is written down of a session: enough to continue it in another server process.

The pixels are decided by the score and the snapshot; tokens are here so that the links people hold stay valid. Files
that hold a record are readable by their owner only (`store`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Protocol

VERSION = 1


class StateError(ValueError):
    """A record that cannot be read: cut short, of another version, or not a record. The message says which."""

    code = "invalid_state"


class StaleEpoch(StateError):
    """Another server has the session now: it claimed a higher epoch."""

    code = "stale_epoch"


class Packed(Protocol):
    """A picture in a score: becomes text (PNG in base64) when it is written."""

    def text(self) -> str: ...


def _text(value: Packed) -> str:
    return value.text()


@dataclass(frozen=True)
class SessionRecord:
    """chunk, frame: position on screen. snapshot_chunk: chunk after which the snapshot continues, None without one.

    prompt, mix: carried by the snapshot; wanted: a prompt (text, mix, transition) that waits behind it.
    serial: the newest serial number given to a change; prompt_serial, image_serial: those the snapshot carries.
    score: see `stream.score.log.Score.saved`; its pictures may be `Packed`. created_at, saved_at:
    seconds since 1970. epoch: raised by each server that takes the session over, so that an older owner can be told.
    ended: why it is over, None while it can be continued.
    """

    id: str
    token: str
    view_token: str
    model: str
    weights: str
    prompt: str
    seed: int
    guidance: float
    dial: dict[str, Any]
    state: str
    chunk: int
    frame: int
    created_at: float
    saved_at: float
    mix: list[list[Any]] = field(default_factory=list)
    wanted: dict[str, Any] | None = None
    snapshot_chunk: int | None = None
    serial: int = 0
    prompt_serial: int = 0
    image_serial: int = 0
    paused_by_user: bool = False
    score: dict[str, Any] = field(default_factory=dict)
    recording: str | None = None
    epoch: int = 0
    ended: str | None = None

    def to_json(self) -> bytes:
        """UTF-8 JSON. Packs the score's pictures, so not for the event loop."""
        document = {"version": VERSION, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}}
        return json.dumps(document, default=_text, allow_nan=False, separators=(",", ":")).encode()


def parse(data: bytes) -> SessionRecord:
    """The inverse of `SessionRecord.to_json`. Unknown keys are ignored, so that a newer patch version can be read.

    Raises StateError.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise StateError(f"the record is not JSON ({error})") from None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        found = document.get("version") if isinstance(document, dict) else None
        raise StateError(f"the record has version {found!r}; this server reads {VERSION}")
    fields = {f.name: f for f in dataclasses.fields(SessionRecord)}
    known = {name: value for name, value in document.items() if name in fields}
    missing = [
        name
        for name, one in fields.items()
        if name not in known and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise StateError(f"the record lacks {', '.join(missing)}")
    return SessionRecord(**known)
