"""Log lines that are lines: control characters of a message are escaped, whoever sent them."""

from __future__ import annotations

import logging
import unicodedata

HIDDEN = ("Cc", "Cf", "Zl", "Zp", "Cs")  # controls, bidirectional and other format characters, line separators


class OneLine(logging.Formatter):
    """The message in one line; a traceback of ours follows in lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


def printable(text: str) -> str:
    """`text` with every control character as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in HIDDEN else c for c in text)
