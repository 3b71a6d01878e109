"""One folder per session on an fsspec file system: a record, and the snapshot that it names.

A snapshot is written under a new name first, then the record that names it replaces the old one, then the old snapshot
goes. Whatever moment the process or the machine dies at, the record names a snapshot that is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import fsspec

from stream.errors import ConfigError

from .record import SessionRecord, StaleEpoch, StateError, parse

log = logging.getLogger("farcast.state")

RECORD = "session.json"
SNAPSHOT = re.compile(r"snapshot-(\d+)\.safetensors")
CLAIM = re.compile(r"claim-(\d+)")
SESSION_ID = re.compile(r"[\w-]{1,64}")


@dataclass(frozen=True)
class Stored:
    """One session in the store. size: bytes of all its files; at: when its record was written, seconds since 1970."""

    id: str
    size: int
    at: float


class StateStore:
    """Blocking; used from one thread of its own (`writer`). Raises OSError as the file system does.

    url: a folder or any fsspec URL ("s3://bucket/farcast"). max_bytes, max_age: what is kept at most; the oldest goes.
    shared: several servers write here. A session belongs to the one with the highest claim (a file of its folder, made
    exclusively), and a write under a lower epoch raises StaleEpoch; only age deletes, as the sizes of others vary.
    """

    def __init__(
        self, url: str, *, max_bytes: int = 4 * 2**30, max_age: float = 7 * 86400.0, shared: bool = False
    ) -> None:
        self.url, self.max_bytes, self.max_age, self.shared = url, max_bytes, max_age, shared
        self._lock: IO[str] | None = None
        try:
            self._fs, self._root = fsspec.core.url_to_fs(os.path.expanduser(url))
            self._local = "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)
            self._fs.makedirs(f"{self._root}/sessions", exist_ok=True)
            if self._local:
                os.chmod(self._root, stat.S_IRWXU)  # records hold tokens
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(
                f"Sessions cannot be kept in {url}: {error}. Choose another place with --state-dir, "
                "or switch it off with --no-state."
            ) from None

    def write(self, record: SessionRecord, snapshot: bytes | None) -> int:
        """Replace what is kept of the session. snapshot: None keeps the one that is there. Returns bytes written."""
        folder = self._folder(record.id)
        if self.shared and self.claimed(record.id) > record.epoch:
            raise StaleEpoch(f"another server has session {record.id}")
        self._fs.makedirs(folder, exist_ok=True)
        if snapshot is not None and record.snapshot_chunk is not None:
            self._put(self._snapshot(record.id, record.snapshot_chunk), snapshot)
        data = record.to_json()
        self._put(f"{folder}/{RECORD}", data)
        for path in self._list(folder):
            match = SNAPSHOT.fullmatch(path.rsplit("/", 1)[-1])
            if match and int(match[1]) != record.snapshot_chunk:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm(path)
        return len(data) + len(snapshot or b"")

    def read(self, session: str) -> tuple[SessionRecord, bytes | None] | None:
        """The record and its snapshot; None for a session that is not kept. Raises StateError."""
        try:
            record = parse(self._fs.cat_file(f"{self._folder(session)}/{RECORD}"))
        except FileNotFoundError:
            return None
        if record.snapshot_chunk is None:
            return record, None
        try:
            return record, self._fs.cat_file(self._snapshot(session, record.snapshot_chunk))
        except FileNotFoundError:
            raise StateError(f"the snapshot after chunk {record.snapshot_chunk} is gone") from None

    def claimed(self, session: str) -> int:
        """The highest epoch that a server has claimed the session with; 0 when only its first server had it."""
        names = (path.rsplit("/", 1)[-1] for path in self._list(self._folder(session)))
        return max((int(match[1]) for name in names if (match := CLAIM.fullmatch(name))), default=0)

    def claim(self, session: str, epoch: int) -> None:
        """Take the session over: from now on writes under a lower epoch are refused.

        Raises StaleEpoch when another server has claimed this epoch or a higher one. Of two that claim the same epoch
        at once one wins where the file system can create exclusively (local, S3, GCS).
        """
        if self.claimed(session) >= epoch:
            raise StaleEpoch(f"epoch {epoch} of session {session} is claimed already")
        path = f"{self._folder(session)}/claim-{epoch}"
        try:
            if self._local:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR))
            else:
                self._fs.pipe_file(path, b"1", mode="create")
        except FileExistsError:
            raise StaleEpoch(f"epoch {epoch} of session {session} is claimed already") from None

    def lock(self) -> None:
        """Keep other servers of this machine off a local folder that is not shared, until this process ends.

        Raises ConfigError.
        """
        if not self._local or self.shared:
            return
        self._lock = open(f"{self._root}/lock", "w", encoding="ascii")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.unlock()
            raise ConfigError(
                f"Another server keeps its sessions in {self.url}. Choose another place with --state-dir, "
                "or switch it off with --no-state."
            ) from None

    def unlock(self) -> None:
        """Another server may have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def records(self) -> Iterator[SessionRecord]:
        """Every record that can be read, without its snapshot; one that cannot is logged and left out."""
        for one in self.kept():
            try:
                yield parse(self._fs.cat_file(f"{self._folder(one.id)}/{RECORD}"))
            except (StateError, OSError) as error:
                log.warning("session %s cannot be continued: %s", one.id, error)

    def delete(self, session: str) -> None:
        """Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._folder(session), recursive=True)

    def kept(self) -> list[Stored]:
        """Sessions that are kept, the one written longest ago first."""
        found = []
        for path in self._list(f"{self._root}/sessions"):
            name = path.rstrip("/").rsplit("/", 1)[-1]
            if not SESSION_ID.fullmatch(name):
                continue
            with contextlib.suppress(FileNotFoundError):
                files: list[dict[str, Any]] = self._fs.ls(path, detail=True)
                written = [self._modified(file) for file in files if file["name"].endswith(RECORD)]
                size = sum(int(file.get("size") or 0) for file in files)
                found.append(Stored(name, size, written[0] if written else 0.0))
        return sorted(found, key=lambda kept: kept.at)

    def sweep(self, live: frozenset[str], now: float | None = None) -> list[str]:
        """Delete what is too old, then the oldest until the rest fits; sessions in `live` stay. Returns what went."""
        kept = self.kept()
        total = sum(one.size for one in kept)
        gone = []
        for one in kept:
            if one.id in live:
                continue
            old = (time.time() if now is None else now) - one.at > self.max_age
            if old or (total > self.max_bytes and not self.shared):
                self.delete(one.id)
                total -= one.size
                gone.append(one.id)
                log.info("session %s is no longer kept: %s", one.id, "too old" if old else "the store is full")
        return gone

    def _folder(self, session: str) -> str:
        if not SESSION_ID.fullmatch(session):
            raise StateError(f"{session!r} is not a session id")
        return f"{self._root}/sessions/{session}"

    def _snapshot(self, session: str, chunk: int) -> str:
        return f"{self._folder(session)}/snapshot-{chunk}.safetensors"

    def _list(self, folder: str) -> list[str]:
        self._fs.invalidate_cache(folder)
        try:
            return [str(path) for path in self._fs.ls(folder, detail=False)]
        except FileNotFoundError:
            return []

    def _put(self, path: str, data: bytes) -> None:
        """Whole or not at all: object stores put atomically, a local file is renamed into place."""
        if not self._local:
            self._fs.pipe_file(path, data)
            return
        part = f"{path}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(part, path)

    def _modified(self, file: dict[str, Any]) -> float:
        stamp = file.get("mtime") or file.get("LastModified") or file.get("created") or 0.0
        return float(stamp.timestamp() if hasattr(stamp, "timestamp") else stamp)
