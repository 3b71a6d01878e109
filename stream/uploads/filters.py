"""Content filters: the operator's own functions, asked about every prompt, every uploaded picture and sampled frames.

`--filter module:function` names one; it may be given several times. The function gets a `Subject` and returns None, or
the reason why this may not be (shown to the user). Filters run on one thread of their own, never on the event loop; one
that raises or does not answer within FILTER_SECONDS counts as a refusal, because a filter that is broken filters
nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from stream.errors import Busy, ConfigError, Unprocessable
from stream.types import Pixels

log = logging.getLogger("farcast.filters")

FILTER_SECONDS = 5.0
WAITING = 32  # questions at a time; more are refused
FRAME_SECONDS = 1.0  # between two sampled frames of a session
FILTERED = "filtered"


@dataclass(frozen=True)
class Subject:
    """What is asked about. `text` of a prompt; `pixels`, uint8 (height, width, 3), of a picture or a frame."""

    kind: Literal["prompt", "picture", "frame"]
    text: str = ""
    pixels: Pixels | None = None


Filter = Callable[[Subject], str | None]


def load_filter(name: str) -> Filter:
    """The function of "module:function". Raises ConfigError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--filter {name}: {error}. Give it as module:function.") from None
    if not callable(found):
        raise ConfigError(f"--filter {name} is no function.")
    loaded: Filter = found
    return loaded


class Filters:
    """All filters of a server. Without any, every question is answered at once."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self._filters = [load_filter(name) for name in names]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="filter")
        self._asked = 0

    def __bool__(self) -> bool:
        return bool(self._filters)

    async def refusal(self, subject: Subject) -> str | None:
        """Why `subject` may not be; None where it may. Raises Busy when too many questions wait."""
        if not self._filters:
            return None
        if self._asked >= WAITING:
            raise Busy("Too many requests wait for the content filter. Try again in a moment.", retry_after=3)
        self._asked += 1
        answer = asyncio.get_running_loop().run_in_executor(self._thread, self._ask, subject)
        answer.add_done_callback(self._answered)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), FILTER_SECONDS)
        except TimeoutError:
            log.error("the content filters did not answer about a %s in %g s", subject.kind, FILTER_SECONDS)
            return "The content filter did not answer in time."

    async def check(self, subject: Subject) -> None:
        """Raises Unprocessable with code "filtered" where `subject` may not be."""
        if (reason := await self.refusal(subject)) is not None:
            raise Unprocessable(reason, code=FILTERED)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answered(self, answer: asyncio.Future[str | None]) -> None:
        self._asked -= 1
        if not answer.cancelled():
            answer.exception()

    def _ask(self, subject: Subject) -> str | None:
        for check in self._filters:
            try:
                reason = check(subject)
            except Exception:
                log.exception("a content filter failed over a %s", subject.kind)
                return "The content filter failed."
            if reason is not None:
                return str(reason)[:500] or "The content filter refuses this."
        return None
