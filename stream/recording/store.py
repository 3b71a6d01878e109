"""All recordings of a server: one file a session in one folder, bounded in number, size and age."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import logging
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stream.config import ServerConfig
from stream.errors import ConfigError, NotFound, Unauthorised
from stream.metrics import Metrics
from stream.video.broadcast import Broadcast

from .recording import Limits, Recording

log = logging.getLogger("farcast.recording")

PATTERN = "farcast-*.mp4"
SPARE = 256 * 2**20  # bytes that are left free on the disk
NICE = 10  # of the threads that encode and write what nobody is waiting for


@dataclass
class StoredRecording:
    """The file of one session's recording, and the tokens that give access to it: those that let watch the session.

    `live`: what writes it, until the session is over and the file complete; then only this is kept.
    """

    path: Path
    tokens: tuple[str, ...]
    live: Recording | None
    over_at: float | None = None  # clock time at which its session was over
    stopped: str | None = None  # why it ended before its session did
    _size: int = 0

    @property
    def size(self) -> int:
        """Bytes that may be read now: whole fragments."""
        return self._size if self.live is None else self.live.size

    @property
    def growing(self) -> bool:
        return self.live is not None and self.live.ended_at is None

    @property
    def why(self) -> str | None:
        """Why it ended before its session did; None when it did not."""
        return self.stopped if self.live is None else self.live.stopped

    def complete(self, recording: Recording) -> None:
        """Nothing is written any more: keep the figures, let go of the writer and of the session behind it."""
        self._size, self.over_at, self.stopped, self.live = recording.size, recording.over_at, recording.stopped, None


class Recordings:
    """Made before the event loop runs. Raises ConfigError when the folder cannot be used."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self.kept: dict[str, StoredRecording] = {}  # by session, oldest first
        self._temporary: Path | None = None
        self._named = None
        if config.record and config.record_dir is not None:
            self._named = _folder(config.record_dir)
            _clean(self._named, config.record_keep)
        # To encode what only a recording wants: two, so that one session does not wait for another.
        self.encoding = ThreadPoolExecutor(2, thread_name_prefix="record", initializer=_step_back)
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="write", initializer=_step_back)

    def begin(self, session: str, tokens: tuple[str, ...], broadcast: Broadcast) -> Recording | None:
        """Record what the session shows from now on; None when this server does not, or has no room for it."""
        if not self.config.record:
            return None
        try:
            folder = self._folder()
            self._make_room()
            room = self._has_room(folder)
        except OSError as error:
            log.warning("recordings cannot be kept: %s", error)
            room = False
        if not room:
            log.warning("session %s is not recorded: no room", session)
            self.metrics.recordings_stopped.labels("space").inc()
            return None
        path = folder / f"farcast-{session}.mp4"
        limits = Limits(self.config.record_seconds, self.config.record_bytes)
        recording = Recording(path, broadcast, self._writing, self.metrics, limits)
        stored = self.kept[session] = StoredRecording(path, tokens, recording)
        recording.on_complete = stored.complete
        return recording

    def known(self, session: str) -> StoredRecording:
        """The recording, whoever asks. Raises NotFound."""
        if not self.config.record:
            raise NotFound("This server keeps no recordings (--no-record).", code="no_recording")
        kept = self.kept.get(session)
        if kept is None:
            raise NotFound(
                "There is no recording of such a session. It may have been deleted by now.", code="no_recording"
            )
        return kept

    def find(self, session: str, token: str | None) -> StoredRecording:
        """Raises NotFound, Unauthorised."""
        kept = self.known(session)
        if token is None or not any(hmac.compare_digest(token.encode(), own.encode()) for own in kept.tokens):
            raise Unauthorised("A recording needs its session's token: `Authorization: Bearer TOKEN`.")
        return kept

    def reap(self, now: float) -> None:
        """Delete what has been kept for long enough."""
        for session, kept in list(self.kept.items()):
            if kept.over_at is not None and now - kept.over_at > self.config.record_keep:
                self._delete(session)

    async def close(self) -> None:
        """Finish every file; a temporary folder goes."""
        await asyncio.gather(*(kept.live.end() for kept in self.kept.values() if kept.live is not None))
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self.encoding.shutdown(wait=False, cancel_futures=True)
        self._writing.shutdown(wait=True)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _folder(self) -> Path:
        if self._named is not None:
            return self._named
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="farcast-recordings-"))
        return self._temporary

    def _make_room(self) -> None:
        """The oldest finished ones go, until a new one of the largest size fits the space for all."""
        for session in [s for s, kept in self.kept.items() if kept.live is None]:
            if self._used() + self.config.record_bytes <= self.config.record_space:
                return
            self._delete(session)

    def _has_room(self, folder: Path) -> bool:
        if self._used() + self.config.record_bytes > self.config.record_space:
            return False
        return shutil.disk_usage(folder).free > SPARE

    def _used(self) -> int:
        """Bytes that are taken, or may be by recordings that are under way."""
        return sum(self.config.record_bytes if kept.growing else kept.size for kept in self.kept.values())

    def _delete(self, session: str) -> None:
        kept = self.kept.pop(session)
        self._writing.submit(kept.path.unlink, missing_ok=True)


def _folder(name: str) -> Path:
    """The folder the user chose, made if need be. Raises ConfigError."""
    folder = Path(name).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"Recordings cannot be kept in {name}: {error.strerror}. "
            "Choose another folder with --record-dir, or switch them off with --no-record."
        ) from None
    return folder


def _clean(folder: Path, keep: float) -> None:
    """What an earlier server left behind, once it is as old as recordings become."""
    for path in folder.glob(PATTERN):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > keep:
                path.unlink()


def _step_back() -> None:
    """This thread yields to those that somebody waits for (Linux gives every thread its own niceness)."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    except (OSError, AttributeError):
        log.debug("recordings run at the usual priority")
