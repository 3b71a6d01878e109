"""A bench that is told to stop cleans up behind itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, but SIGTERM (of `timeout`, say) ends it as Ctrl-C does: what was started is ended, too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return asyncio.run(work)
    finally:
        signal.signal(signal.SIGTERM, before)
