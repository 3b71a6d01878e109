"""What it takes to continue a session in a new engine process, after the old one died."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stream.engine.protocol import ChunkMade, Command, DropFrom, Open, Rewound, Saved, SetDial
from stream.governor import Dial

from .replies import Replies


class Recovery:
    """Kept up to date while all is well. `newest_frame`: index of the newest frame that was ever queued, as a resumed
    engine may make some again."""

    def __init__(self, opening: Open, saved: Saved | None = None, newest_frame: int = -1) -> None:
        """`saved`, `newest_frame`: of a session that another server process had."""
        self.opening = opening
        self.saved = saved
        self.newest_frame = newest_frame
        # Serials of the newest prompt and of the newest image that a chunk carries.
        self.prompt, self.image = opening.prompt_serial, opening.image_serial

    def release(self) -> None:
        """The session is over: let go of its snapshot and of the pictures it began with."""
        self.saved = None
        self.opening = replace(self.opening, image=None, clip=None, snapshot=None)

    def carries(self, made: ChunkMade) -> None:
        """A chunk came."""
        self.prompt, self.image = made.prompt_serial, made.image_serial
        self.newest_frame = made.frame + len(made.frames) - 1

    def rewound(self, event: Rewound | DropFrom) -> None:
        """What was made after that point counts no more."""
        self.newest_frame = event.frame - 1
        if self.saved is not None and self.saved.chunk > event.chunk:
            self.saved = None

    def commands(self, replies: Replies, dial: Dial) -> Iterator[Command]:
        """Commands for the new process: where to go on, and every change that is still to be shown."""
        saved = self.saved
        if saved is not None:
            carried = replies.texts.get(self.prompt)
            yield replace(
                self.opening,
                prompt=self.opening.prompt if carried is None else carried.text,
                mix=() if carried is None else carried.mix,
                dial=dial,
                snapshot=saved.blob,
                prompt_serial=self.prompt,
                image_serial=self.image,
            )
        else:  # it died before its first snapshot: from the beginning
            self.newest_frame = -1
            yield replace(self.opening, dial=dial)
        prompt = replies.prompts.newest
        wanted = prompt.wanted if prompt is not None else replies.texts.get(self.prompt)
        if wanted is not None and wanted.serial and (prompt is not None or saved is None):
            yield wanted
        if (move := replies.dials.newest) is not None:
            yield SetDial(self.opening.session, move.serial, dial)
        if (image := replies.images.newest) is not None:
            yield image.wanted
