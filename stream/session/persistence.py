"""A session as a record for the state store, and back."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from farcast.protocol import Dial, SessionRequest, SessionState

from stream.engine.protocol import ModelFacts, Open, Saved, SetPrompt
from stream.score.log import Score
from stream.state.record import SessionRecord

from .recovery import Recovery
from .replies import Replies

RESTARTING = "The server is restarting. The session goes on when it is back."
MOVING = "This server is drained. The session goes on on another one; ask the fleet's gateway where."
MOVED = "Another server of the fleet has this session now; ask the gateway where."


@dataclass(frozen=True)
class Identity:
    """What never changes of a session. `token` steers, `view_token` only lets watch; epoch: server processes before."""

    id: str
    token: str
    view_token: str
    seed: int
    guidance: float
    created_at: float  # seconds since 1970
    epoch: int = 0

    @classmethod
    def fresh(cls, request: SessionRequest, facts: ModelFacts) -> Identity:
        return cls(
            id=secrets.token_urlsafe(9),
            token=secrets.token_urlsafe(24),
            view_token=secrets.token_urlsafe(24),
            seed=request.seed if request.seed is not None else secrets.randbelow(2**31),
            guidance=facts.guidance if request.guidance is None else request.guidance,
            created_at=time.time(),
        )

    @classmethod
    def of(cls, record: SessionRecord) -> Identity:
        """Of a session that another server process had."""
        return cls(
            record.id, record.token, record.view_token, record.seed, record.guidance, record.created_at,
            record.epoch + 1,
        )  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """What changes of a session, as it is now. chunk, frame: on screen."""

    state: SessionState
    reason: str | None
    over: bool
    dial: Dial
    chunk: int
    frame: int
    paused_by_user: bool


def record_of(
    identity: Identity, facts: ModelFacts, moment: Moment, replies: Replies, recovery: Recovery, score: Score
) -> SessionRecord:
    """On the event loop; nothing in it changes afterwards."""
    carried = replies.texts.get(recovery.prompt, replies.on_screen)
    waiting = replies.prompts.newest
    saved = None if moment.over else recovery.saved
    return SessionRecord(
        id=identity.id,
        token=identity.token,
        view_token=identity.view_token,
        model=facts.name,
        weights=facts.weights,
        prompt=carried.text,
        mix=[list(part) for part in carried.mix],
        wanted=_wanted(None if waiting is None else waiting.wanted),
        seed=identity.seed,
        guidance=identity.guidance,
        dial=moment.dial.model_dump(),
        state=moment.state,
        chunk=moment.chunk,
        frame=moment.frame,
        created_at=identity.created_at,
        saved_at=time.time(),
        snapshot_chunk=None if saved is None else saved.chunk,
        serial=replies.serial,
        prompt_serial=carried.serial,
        image_serial=recovery.image,
        paused_by_user=moment.paused_by_user,
        score=score.saved(),
        epoch=identity.epoch,
        ended=(moment.reason or moment.state) if moment.over else None,
    )


@dataclass(frozen=True)
class Resumed:
    """A session of an earlier server process: its record, and the snapshot that it goes on from."""

    record: SessionRecord
    snapshot: bytes

    @property
    def request(self) -> SessionRequest:
        """What would start it anew."""
        record = self.record
        return SessionRequest(
            prompt=record.prompt, seed=record.seed, guidance=record.guidance, dial=Dial.model_validate(record.dial)
        )

    @property
    def saved(self) -> Saved:
        assert self.record.snapshot_chunk is not None
        return Saved(self.record.id, self.record.snapshot_chunk, self.snapshot)

    @property
    def prompt(self) -> SetPrompt:
        """The prompt that the snapshot carries."""
        record = self.record
        mix = tuple((text, weight) for text, weight in record.mix)
        return SetPrompt(record.id, record.prompt_serial, record.prompt, mix=mix)

    @property
    def wanted(self) -> SetPrompt | None:
        """The prompt that was accepted and not yet carried by the snapshot."""
        record = self.record
        if record.wanted is None:
            return None
        mix = tuple((text, weight) for text, weight in record.wanted["mix"])
        return SetPrompt(record.id, record.serial, record.wanted["text"], record.wanted["transition"], mix=mix)

    def opening(self, opening: Open) -> Open:
        """`opening` as the engine needs it to go on from the snapshot."""
        prompt = self.prompt
        return Open(
            opening.session,
            prompt.text,
            opening.seed,
            opening.dial,
            opening.guidance,
            snapshot=self.snapshot,
            prompt_serial=prompt.serial,
            image_serial=self.record.image_serial,
            mix=prompt.mix,
        )


def _wanted(change: SetPrompt | None) -> dict[str, Any] | None:
    """A prompt that waits, as a record has it."""
    if change is None:
        return None
    return {"text": change.text, "mix": [list(part) for part in change.mix], "transition": change.transition}
