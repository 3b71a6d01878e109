"""Bounded queues: a slow reader loses the oldest, and only its own."""

from __future__ import annotations

import asyncio
import gc

import pytest
from farcast.media.fanout import Fanout


async def test_a_slow_reader_loses_the_oldest_and_the_other_nothing() -> None:
    source: Fanout[int] = Fanout()
    slow, fast = source.reader(3), source.reader(10)
    for n in range(6):
        source.put(n)
    source.end()
    assert [n async for n in slow] == [3, 4, 5]
    assert [n async for n in fast] == list(range(6))
    assert (slow.dropped, fast.dropped, source.dropped) == (3, 0, 3)


async def test_waiting_readers_hear_of_the_end_and_late_ones_too() -> None:
    source: Fanout[int] = Fanout()
    waiting = asyncio.create_task(source.reader(2).get())
    await asyncio.sleep(0)
    source.end(ValueError("lost"))
    for reader in (waiting, source.reader(2).get()):
        with pytest.raises(ValueError, match="lost"):
            await reader


async def test_a_forgotten_reader_costs_nothing() -> None:
    source: Fanout[int] = Fanout()
    source.reader(1)
    gc.collect()
    for n in range(5):
        source.put(n)
    assert source.dropped == 0


async def test_a_reader_that_left_gets_nothing_more() -> None:
    source: Fanout[int] = Fanout()
    reader = source.reader(2)
    source.put(1)
    reader.close()
    source.put(2)
    assert [n async for n in reader] == []
