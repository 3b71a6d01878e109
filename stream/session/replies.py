"""Every change a user makes is answered: applied at a frame, replaced by a newer one, or refused with a reason.

The engine and playout report the serial number up to which they have applied changes; this turns that into messages
to the clients that asked. It knows the clients of a session and nothing of its frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from farcast.protocol import (
    Dial,
    DialApplied,
    Error,
    ImageApplied,
    PromptApplied,
    PromptPending,
    PromptRejected,
    ServerMessage,
)

from stream.engine.protocol import ChunkMade, DialTaken, Refused, SetImage, SetPrompt

NEWER_PROMPT = "A newer prompt came before this one was shown."
NEWER_IMAGE = "A newer image came before this one was shown."
OVER = "The session ended before this could be done."


class Replies:
    """`on_screen`: the prompt of the frame on screen. `texts`: prompts by serial, as long as a chunk may carry them."""

    def __init__(self, opening: SetPrompt, serial: int = 0) -> None:
        """`serial`: the newest one given to a change so far."""
        self.clients: set[Client] = set()
        self.prompts: PendingReplies[SetPrompt] = PendingReplies()
        self.dials: PendingReplies[Dial] = PendingReplies()
        self.images: PendingReplies[SetImage] = PendingReplies(limit=4)
        self.rewinds: PendingReplies[int] = PendingReplies(limit=16)
        self.texts: dict[int, SetPrompt] = {opening.serial: opening}
        self.on_screen = opening
        self.serial = max(opening.serial, serial)

    # --- in

    def next_serial(self) -> int:
        self.serial += 1
        return self.serial

    def wait_prompt(self, change: SetPrompt, re: str, client: Client, unknown: list[str] | None = None) -> None:
        client.send(PromptPending(re=re, text=change.text, unknown=unknown))
        self.texts[change.serial] = change
        for old in self.prompts.add(PendingReply(change.serial, re, change.at, client, change)):
            self._reject(old)

    def wait_dial(self, serial: int, dial: Dial, re: str, at: float, client: Client) -> None:
        for old in self.dials.add(PendingReply(serial, re, at, client, dial)):
            self.send_to(old, Error(re=old.re, code="superseded", message="A newer dial setting came before this one."))

    def wait_image(self, change: SetImage) -> str:
        """Returns the `re` under which it will be answered, to everybody, as nobody in particular asked on a socket."""
        re = f"image-{change.serial}"
        for old in self.images.add(PendingReply(change.serial, re, change.at, None, change)):
            self.send_all(Error(re=old.re, code="superseded", message=NEWER_IMAGE))
        return re

    def wait_rewind(self, serial: int, chunk: int, re: str, at: float, client: Client) -> None:
        for old in self.rewinds.add(PendingReply(serial, re, at, client, chunk)):
            self.send_to(old, Error(re=old.re, code="superseded", message="Newer rewinds came before this one."))

    # --- out

    def superseded(self, serial: int) -> None:
        """The prompt was replaced before any chunk carried it."""
        if (old := self.prompts.pop(serial)) is not None:
            self._reject(old)

    def dial_taken(self, event: DialTaken) -> Dial | None:
        """Returns where the dial stands now; earlier moves are answered with that too, as the latest wins."""
        taken = self.dials.up_to(event.serial)
        for change in taken:
            dial, chunk, frame = taken[-1].wanted, event.chunk, event.frame
            applied = DialApplied(re=change.re, dial=dial, kept_ms=event.kept_ms, chunk=chunk, frame=frame)
            self.send_to(change, applied)
        return taken[-1].wanted if taken else None

    def refused(self, event: Refused) -> None:
        if (prompt := self.prompts.pop(event.serial)) is not None:
            self._reject(prompt, event.code, event.message)
            return
        for pending in (self.dials, self.images, self.rewinds):
            asked: Asked | None = pending.pop(event.serial)
            if asked is not None:
                self.send_to(asked, Error(re=asked.re, code=event.code, message=event.message))

    def shown(self, made: ChunkMade, *, frame: int, pts: float, now: float) -> float | None:
        """The first frame of a chunk is on screen, and with it every change up to those it carries.

        Returns the seconds from the arrival of a prompt that is now seen for the first time.
        """
        self.on_screen = self.texts.get(made.prompt_serial, self.on_screen)
        for serial in [s for s in self.texts if s < made.prompt_serial]:
            del self.texts[serial]
        latency: float | None = None
        for change in self.prompts.up_to(made.prompt_serial):
            if change.serial != made.prompt_serial:
                self._reject(change)
                continue
            latency = now - change.at
            text = change.wanted.text
            applied = PromptApplied(
                re=change.re, text=text, chunk=made.chunk, frame=frame, pts=pts, latency_ms=latency * 1e3
            )
            self.send_to(change, applied)
        for image in self.images.up_to(made.image_serial):
            if image.serial == made.image_serial:
                self.send_all(ImageApplied(re=image.re, chunk=made.chunk, frame=frame))
            else:
                self.send_all(Error(re=image.re, code="superseded", message=NEWER_IMAGE))
        return latency

    def engine_restarted(self) -> None:
        """What only the engine that is gone could have done."""
        for lost in self.rewinds.all():
            self.send_to(lost, Error(re=lost.re, code="recovering", message="The engine was restarted. Try again."))

    def over(self) -> None:
        """Nothing more will be shown."""
        for prompt in self.prompts.all():
            self._reject(prompt, "stopped", OVER)
        for pending in (self.dials, self.images, self.rewinds):
            for asked in pending.all():
                self.send_to(asked, Error(re=asked.re, code="stopped", message=OVER))

    def send_to(self, asked: Asked, message: ServerMessage) -> None:
        """To the one who asked, if still there; to everybody when that is not known."""
        if asked.client is None:
            self.send_all(message)
        elif asked.client in self.clients:
            asked.client.send(message)

    def send_all(self, message: ServerMessage) -> None:
        for client in list(self.clients):
            client.send(message)

    def _reject(self, change: PendingReply[SetPrompt], code: str = "superseded", message: str = NEWER_PROMPT) -> None:
        self.texts.pop(change.serial, None)
        self.send_to(change, PromptRejected(re=change.re, text=change.wanted.text, code=code, message=message))


LIMIT = 64


class Client(Protocol):
    """One control connection."""

    def send(self, message: ServerMessage) -> None: ...


T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """Who asked. `serial` rises over all changes of a session; `re`: the client's id of it; `at`: monotonic seconds."""

    serial: int
    re: str
    at: float
    client: Client | None = None


@dataclass(frozen=True)
class PendingReply(Asked, Generic[T]):
    """A change that waits for its answer."""

    value: T | None = None

    @property
    def wanted(self) -> T:
        assert self.value is not None
        return self.value


class PendingReplies(Generic[T]):
    """Changes of one kind, oldest first."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: dict[int, PendingReply[T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def newest(self) -> PendingReply[T] | None:
        return next(reversed(self._waiting.values()), None)

    def add(self, change: PendingReply[T]) -> list[PendingReply[T]]:
        """Returns those that have to be answered as replaced, for want of room."""
        self._waiting[change.serial] = change
        gone = list(self._waiting)[: max(0, len(self._waiting) - self._limit)]
        return [self._waiting.pop(serial) for serial in gone]

    def pop(self, serial: int) -> PendingReply[T] | None:
        """This one, if it still waits."""
        return self._waiting.pop(serial, None)

    def up_to(self, serial: int) -> list[PendingReply[T]]:
        """All up to and including `serial`, oldest first."""
        return [self._waiting.pop(s) for s in list(self._waiting) if s <= serial]

    def all(self) -> list[PendingReply[T]]:
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting
