"""Writes sessions to the store beside the event loop: one thread, and of each session only the newest state waits.

A store that is slow or full delays its own writes and nothing else; the sessions go on, and `healthy` says that they
would not outlive the server just now.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from .record import SessionRecord, StaleEpoch, StateError
from .store import StateStore

log = logging.getLogger("farcast.state")

COMPLAIN_EVERY = 60.0  # seconds between two log lines about the same trouble
WRITE_RATE = 16e6  # bytes a second that one session's state may cost on average

Work = Callable[[], tuple[SessionRecord, bytes | None]]


class StateWriter:
    """`put`, `delete` and `sweep` never block. Work that fails is tried again with the session's next state.

    Work returns the session's newest snapshot each time; it is written when it is another than the one in the store.
    """

    def __init__(self, store: StateStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.healthy = True
        self.replaced = 0  # states that a newer one of the same session replaced before they were written
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, Work | None] = {}  # None = delete
        self._not_before: dict[str, float] = {}
        self._written: dict[str, bytes | None] = {}  # the snapshot that is in the store
        self._complained_at = float("-inf")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._closed = False
        self._lost: set[str] = set()  # sessions that another server has taken over, until `lost` is asked
        self._checking = False

    def due(self, session: str) -> bool:
        """Whether the session's state may be written now: its last write was long enough ago for its size."""
        return self._clock() >= self._not_before.get(session, 0.0)

    def put(self, session: str, work: Work) -> None:
        """`work` makes the record and snapshot; it runs on the writer's thread."""
        self._add(session, work)

    def delete(self, session: str) -> None:
        """The session is over and is not to be continued."""
        self._add(session, None)

    def sweep(self, live: frozenset[str]) -> None:
        """Delete what is too old or over the budget, but for the sessions in `live`."""
        if not self._closed:
            self._thread.submit(self._sweep, live)

    def check(self, epochs: Mapping[str, int]) -> None:
        """Look for sessions that another server has claimed since; at most one look waits. See `lost`."""
        if not self._closed and not self._checking:
            self._checking = True
            self._thread.submit(self._check, dict(epochs))

    def lost(self) -> set[str]:
        """Sessions that another server has now, each said once."""
        with self._lock:
            lost, self._lost = self._lost, set()
        return lost

    def flush(self) -> Future[None]:
        """Done when everything that waits now is written or has failed."""
        return self._thread.submit(self._drain)

    def close(self) -> None:
        """Write what waits, then end the thread."""
        self._closed = True
        self._thread.submit(self._drain)
        self._thread.shutdown(wait=True)
        self.store.unlock()

    def _add(self, session: str, work: Work | None) -> None:
        if self._closed:
            return
        with self._lock:
            self.replaced += session in self._waiting
            first = not self._waiting
            self._waiting[session] = work
        if first:
            self._thread.submit(self._drain)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                session = next(iter(self._waiting))
                work = self._waiting.pop(session)
            self._do(session, work)

    def _sweep(self, live: frozenset[str]) -> None:
        try:
            self.store.sweep(live)
        except OSError as error:
            log.warning("old sessions in %s cannot be deleted: %s", self.store.url, error)

    def _check(self, epochs: Mapping[str, int]) -> None:
        try:
            lost = {session for session, epoch in epochs.items() if self.store.claimed(session) > epoch}
            with self._lock:
                self._lost |= lost
        except OSError as error:
            self._trouble(error)
        finally:
            self._checking = False

    def _do(self, session: str, work: Work | None) -> None:
        try:
            if work is None:
                self._not_before.pop(session, None)
                self._written.pop(session, None)
                self.store.delete(session)
            else:
                record, snapshot = work()
                began = self._clock()
                new = snapshot is not self._written.get(session)
                size = self.store.write(record, snapshot if new else None)
                self._written[session] = snapshot
                if record.ended is not None:
                    del self._written[session]
                self._not_before[session] = began + max(size / WRITE_RATE, 4 * (self._clock() - began))
            self.healthy = True
        except StaleEpoch:
            self._written.pop(session, None)
            with self._lock:
                self._lost.add(session)
        except (OSError, StateError) as error:
            self._trouble(error)

    def _trouble(self, error: Exception) -> None:
        self.healthy = False
        if self._clock() - self._complained_at > COMPLAIN_EVERY:
            self._complained_at = self._clock()
            log.warning("sessions cannot be kept in %s just now: %s", self.store.url, error)
