"""A session's side of its slot in the engine process: a user's changes become commands to it, and its events become
frames in the queue, entries of the score, replies, and what a restart of the engine needs."""

from __future__ import annotations

import time
from typing import Protocol

from farcast.protocol import Dial

from stream.engine.protocol import (
    ChunkMade,
    Close,
    Command,
    DialTaken,
    DropFrom,
    Event,
    Evicted,
    Open,
    PlayoutReport,
    Refused,
    Rewind,
    Rewound,
    Saved,
    SessionLost,
    SetDial,
    SetImage,
    SetPrompt,
    Superseded,
)
from stream.governor import Dial as GovernorDial
from stream.score.log import Score
from stream.types import Mix, Pixels

from .chunk_frames import chunk_messages
from .context import ServerContext
from .output import Output
from .persistence import Resumed
from .recovery import Recovery
from .replies import Client, Replies


def governor_dial(dial: Dial) -> GovernorDial:
    return GovernorDial(dial.latency_ms, dial.floor, dial.ceiling, dial.steps)


class Owner(Protocol):
    """The session, as the link sees it."""

    def begin_if_ready(self) -> None:
        """Frames are in the queue; the first one may leave."""

    def on_rewound(self, event: Rewound) -> None:
        """The queue is empty; the next frame is the first of `event.chunk`."""

    def fail(self, message: str, code: str) -> None:
        """The engine cannot go on with the session."""

    def on_saved(self) -> None:
        """There is a newer snapshot."""

    def on_evicted(self, message: str, code: str) -> None:
        """The slot is gone; the session goes on in a new one."""


class EngineLink:
    """Opens the slot when it is made. Nothing here waits for the engine."""

    def __init__(
        self,
        context: ServerContext,
        opening: Open,
        score: Score,
        output: Output,
        replies: Replies,
        owner: Owner,
        resumed: Resumed | None = None,
    ) -> None:
        self._engine, self._facts, self._session = context.engine, context.facts, opening.session
        self._score, self._output, self._replies, self._owner = score, output, replies, owner
        if resumed is None:
            self.recovery = Recovery(opening)
        else:
            opening = resumed.opening(opening)
            self.recovery = Recovery(opening, resumed.saved, resumed.record.frame)
            score.resumed(resumed.saved.chunk)
        self._queue_events = 0  # see PlayoutReport.received
        self.send(opening)
        if resumed is not None and (wanted := resumed.wanted) is not None:
            replies.texts[wanted.serial] = wanted
            self.send(wanted)

    @property
    def alive(self) -> bool:
        """Whether an engine process with its model loaded is there."""
        return self._engine.alive

    def send(self, command: Command) -> None:
        self._engine.send(command)

    def report(self, now: float) -> None:
        """Tell the engine where playout stands. `now`: monotonic seconds."""
        playout = self._output.playout
        started = playout.consumed > 0
        self.send(PlayoutReport(self._session, self._queue_events, len(playout), now, playout.rate, started))

    def release(self) -> None:
        """Close the slot. What a restart of the engine would need is freed."""
        self.send(Close(self._session))
        self.recovery.release()

    # --- changes that users ask for

    def set_prompt(self, re: str, text: str, transition: int, client: Client, mix: Mix) -> None:
        change = SetPrompt(self._session, self._replies.next_serial(), text, transition, time.monotonic(), mix)
        self._replies.wait_prompt(change, re, client, self._unknown_words(text, mix))
        self.send(change)

    def set_dial(self, re: str, dial: Dial, client: Client) -> None:
        serial = self._replies.next_serial()
        self._replies.wait_dial(serial, dial, re, time.monotonic(), client)
        self.send(SetDial(self._session, serial, governor_dial(dial)))

    def set_image(self, pixels: Pixels) -> str:
        """Returns the `re` of the reply."""
        change = SetImage(self._session, self._replies.next_serial(), pixels, time.monotonic())
        re = self._replies.wait_image(change)
        self.send(change)
        return re

    def rewind(self, re: str, chunk: int, client: Client) -> None:
        serial = self._replies.next_serial()
        self._replies.wait_rewind(serial, chunk, re, time.monotonic(), client)
        self.send(Rewind(self._session, serial, chunk))

    def _unknown_words(self, text: str, mix: Mix) -> list[str] | None:
        """Words of a prompt, or of the prompts of a mix, that the model does not know; None for free text."""
        vocabulary = self._facts.vocabulary
        if vocabulary is None:
            return None
        texts = [prompt for prompt, _ in mix] or [text]
        return list(dict.fromkeys(word for one in texts for word in vocabulary.unknown(one)))

    # --- events of the engine

    def on_event(self, event: Event) -> None:
        self._queue_events += isinstance(event, ChunkMade | DropFrom | Rewound)
        match event:
            case ChunkMade():
                self._chunk_made(event)
            case Rewound():
                self._output.playout.clear()
                self._back_to(event)
                self._owner.on_rewound(event)
            case DropFrom():
                self._output.drop_from(event.chunk)
                self._back_to(event)
            case DialTaken():
                if (dial := self._replies.dial_taken(event)) is not None:
                    self._score.dial(event.chunk, governor_dial(dial))
            case Superseded():
                self._replies.superseded(event.serial)
            case Refused():
                self._replies.refused(event)
            case Saved():
                self.recovery.saved = event
                self._owner.on_saved()
            case SessionLost():
                self._owner.fail(event.message, event.code)
            case Evicted():
                self._owner.on_evicted(event.message, event.code)

    def restarted(self, dial: GovernorDial) -> None:
        """Continue from the last snapshot in a new engine process."""
        self._queue_events = 0
        saved = self.recovery.saved
        self._score.resumed(0 if saved is None else saved.chunk)
        for command in self.recovery.commands(self._replies, dial):
            self.send(command)
        self.report(time.monotonic())

    def _chunk_made(self, made: ChunkMade) -> None:
        self._score.made(made)
        if not self._output.push(made, after=self.recovery.newest_frame):
            return
        self.recovery.carries(made)
        prompt = self._replies.texts.get(made.prompt_serial, self._replies.on_screen).text
        for message in chunk_messages(made, self._facts, self._output.playout, prompt):
            self._replies.send_all(message)
        self._owner.begin_if_ready()

    def _back_to(self, event: DropFrom | Rewound) -> None:
        self._score.rewind(event.chunk)
        self.recovery.rewound(event)
        self.report(time.monotonic())
