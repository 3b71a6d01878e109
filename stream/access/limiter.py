"""How much one user may do in a time: sessions, prompts, pictures, bytes, sockets.

A user is an address (of IPv6 the /64, which is what one household gets), with a key where one is used. The library
`limits` counts: fixed windows, in memory.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.requests import HTTPConnection

from stream.config import ApiKey, RateLimits
from stream.errors import TooMany

WORDS = {
    "creations": "sessions started",
    "prompts": "changes of sessions",
    "pictures": "pictures and clips sent",
    "kilobytes": "kilobytes sent",
}


def user_of(connection: HTTPConnection, key: ApiKey | None = None) -> str:
    """Who is counted: an address, and the key where one was used. Many people may share a key."""
    address = _address(connection.client.host if connection.client is not None else "unknown")
    return address if key is None else f"{address} key {key.name}"


def _address(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


class Limiter:
    """Without `rates` nothing is limited."""

    def __init__(self, rates: RateLimits | None) -> None:
        self._rates = rates
        self._counting = FixedWindowRateLimiter(MemoryStorage())
        self._items: dict[str, RateLimitItem] = {}
        if rates is not None:
            self._items = {kind: parse(getattr(rates, kind)) for kind in WORDS}
        self._sockets: Counter[str] = Counter()

    def hit(self, kind: str, user: str, cost: int = 1) -> None:
        """Count something. Raises TooMany when it is more than allowed."""
        item = self._items.get(kind)
        if item is None or self._counting.hit(item, kind, user, cost=cost):
            return
        wait = max(1, ceil(self._counting.get_window_stats(item, kind, user).reset_time - time.time()))
        raise TooMany(
            f"Too many {WORDS[kind]}: {item.amount} in {_span(item.get_expiry())} are allowed. Wait {wait} s.",
            retry_after=wait,
        )

    def session(self, user: str, running: int) -> None:
        """`running`: sessions the user has now. Raises TooMany when one more is too much."""
        if self._rates is not None and running >= self._rates.sessions:
            raise TooMany(
                f"You have {running} sessions already, which is the most. End one first.",
                code="too_many_sessions",
                retry_after=10,
            )

    @contextmanager
    def socket(self, user: str) -> Iterator[None]:
        """One control socket, as long as it is open. Raises TooMany."""
        if self._rates is not None and self._sockets[user] >= self._rates.sockets:
            raise TooMany(f"You have {self._rates.sockets} sockets open, which is the most.", retry_after=5)
        self._sockets[user] += 1
        try:
            yield
        finally:
            self._sockets[user] -= 1
            if not self._sockets[user]:
                del self._sockets[user]


def _span(seconds: int) -> str:
    return {60: "a minute", 3600: "an hour", 1: "a second"}.get(seconds, f"{seconds} s")
