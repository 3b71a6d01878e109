"""The log of the server: one format, no secrets, and what repeats once a minute."""

from __future__ import annotations

import logging
import time
import traceback

from stream.access.credentials import MaskSecrets

from .log_format import OneLine

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
NOISY = ("aioice", "aiortc", "httpx", "libav", "websockets", "h11")
REPEAT_SECONDS = 60.0
KINDS = 512  # of messages that are remembered


class Repeats(logging.Filter):
    """Lets a warning or an error through once in REPEAT_SECONDS; the next one says how many were left out."""

    def __init__(self, seconds: float = REPEAT_SECONDS) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}  # kind -> when it was written, left out since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, str(record.msg) + _place(record))
        now = time.monotonic()
        written, left_out = self._seen.get(kind, (float("-inf"), 0))
        if now - written < self._seconds:
            self._seen[kind] = (written, left_out + 1)
            return False
        if len(self._seen) >= KINDS:
            del self._seen[min(self._seen, key=lambda known: self._seen[known][0])]
        self._seen[kind] = (now, 0)
        if left_out:
            record.msg = f"{record.msg} ({left_out} more like this in the last {now - written:.0f} s)"
        return True


def _place(record: logging.LogRecord) -> str:
    """Type and place of the exception that a record reports; another one is another message."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None or error.__traceback__ is None:
        return ""
    last = traceback.extract_tb(error.__traceback__, limit=-1)[0]
    return f" {type(error).__name__} {last.filename}:{last.lineno}"


def set_up(level: int) -> None:
    """Log to the standard error stream."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    handler.addFilter(MaskSecrets())
    handler.addFilter(Repeats())
    logging.basicConfig(level=level, handlers=[handler])
    for name in NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.getLogger("python_multipart").setLevel(max(level, logging.ERROR))  # it warns of every odd byte of a form
