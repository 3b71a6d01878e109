"""One source, many readers, each with its own bounded queue. A slow reader loses the oldest items, and only its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Reader(Generic[T]):
    """One reader's queue of at most `size` items. `dropped` counts what it was too slow for."""

    def __init__(self, size: int, leave: Callable[[Reader[T]], None]) -> None:
        self._items: deque[T] = deque(maxlen=size)
        self._ready = asyncio.Event()
        self._leave = leave
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0

    def put(self, item: T) -> int:
        """Queue `item`; returns how many older ones that cost (0 or 1)."""
        if self._closed:
            return 0
        lost = int(len(self._items) == self._items.maxlen)  # the deque lets go of the oldest by itself
        self.dropped += lost
        self._items.append(item)
        self._ready.set()
        return lost

    def end(self, error: BaseException | None) -> None:
        self._closed, self._error = True, self._error or error
        self._ready.set()

    async def get(self) -> T:
        """The next item. Raises StopAsyncIteration at the end, or the error that ended the source."""
        while not self._items:
            if self._closed:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()

    def close(self) -> None:
        """Leave the source; what is still queued is forgotten."""
        self._items.clear()
        self._leave(self)
        self.end(None)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await self.get()


class Fanout(Generic[T]):
    """The source: `put` reaches every reader at once and never waits."""

    def __init__(self) -> None:
        self._readers: WeakSet[Reader[T]] = WeakSet()  # one that nobody reads any more goes by itself
        self.dropped = 0  # over all readers, those that left too
        self._ended = False
        self._error: BaseException | None = None

    def reader(self, size: int) -> Reader[T]:
        reader: Reader[T] = Reader(size, self._readers.discard)
        if self._ended:
            reader.end(self._error)
        else:
            self._readers.add(reader)
        return reader

    def put(self, item: T) -> None:
        for reader in self._readers:
            self.dropped += reader.put(item)

    def end(self, error: BaseException | None = None) -> None:
        """No more items; readers get what they have queued, then the end (or `error`)."""
        if not self._ended:
            self._ended, self._error = True, error
            for reader in self._readers:
                reader.end(error)
            self._readers.clear()
