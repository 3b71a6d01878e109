"""Commands on their way to the engine process, written to the pipe by a thread, so that the event loop never waits.

Bounded by the number of sessions, also while the engine reads nothing: of each kind of command the newest of a session
replaces the one that waits, and closing a session removes its commands. A replaced prompt is reported; replies to
dials, pictures and rewinds answer for all up to their serial.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection

from stream.engine.protocol import Close, Command, Open, SetPrompt, Shutdown, Superseded


class Outbox:
    """The way to one engine process."""

    def __init__(self, pipe: Connection, on_superseded: Callable[[Superseded], None]) -> None:
        self._pipe = pipe
        self._on_superseded = on_superseded
        self._waiting: deque[Command] = deque()
        self._change = threading.Condition()
        self._ended = False
        threading.Thread(target=self._write, name="engine-writer", daemon=True).start()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, command: Command) -> None:
        """Never blocks."""
        with self._change:
            replaced = [] if isinstance(command, Shutdown) else self._replace(command)
            opened = any(isinstance(old, Open) for old in replaced)
            if not (isinstance(command, Close) and opened):  # else the engine never knew the session
                self._waiting.append(command)
            self._change.notify()
        if isinstance(command, SetPrompt):
            for old in replaced:
                assert isinstance(old, SetPrompt)
                self._on_superseded(Superseded(old.session, old.serial))

    def end(self) -> None:
        """Write what waits, and stop."""
        with self._change:
            self._ended = True
            self._change.notify()

    def _replace(self, command: Command) -> list[Command]:
        """Take out what `command` replaces."""
        assert not isinstance(command, Shutdown)
        replaced: list[Command] = [
            old
            for old in self._waiting
            if not isinstance(old, Shutdown)
            and old.session == command.session
            and (type(old) is type(command) or isinstance(command, Close))
        ]
        for old in replaced:
            self._waiting = deque(other for other in self._waiting if other is not old)
        return replaced

    def _write(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._ended:
                    self._change.wait()
                if not self._waiting:
                    break
                command = self._waiting.popleft()
            try:
                self._pipe.send(command)
            except (OSError, ValueError, TypeError):  # TypeError: closed by the reader in the middle of a write
                break  # the process is gone; the reader notices too
