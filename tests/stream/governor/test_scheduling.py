from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from stream.governor import pick


@dataclass
class Waiting:
    deadline: float
    served: int = 0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_the_nearest_deadline_goes_first(deadlines: list[float]) -> None:
    chosen = pick([Waiting(d) for d in deadlines])
    assert chosen is not None
    assert chosen.deadline == min(deadlines)


def test_nobody_there() -> None:
    assert pick([]) is None


def test_the_reader_of_deadlines_can_be_given() -> None:
    assert pick([3, 1, 2], deadline=float) == 1


@given(st.lists(st.floats(0.1, 3.0), min_size=2, max_size=8))
def test_nobody_starves_even_when_the_device_is_too_slow_for_all(periods: list[float]) -> None:
    """Deadlines grow with what was served and never with waiting, so whoever waits is in the end the nearest."""
    sessions = [Waiting(period) for period in periods]
    for _ in range(400):
        chosen = pick(sessions)
        assert chosen is not None
        chosen.served += 1
        chosen.deadline += periods[sessions.index(chosen)]
    for session, period in zip(sessions, periods, strict=True):
        fair = 400 / sum(1 / p for p in periods) / period
        assert session.served >= fair - 2
