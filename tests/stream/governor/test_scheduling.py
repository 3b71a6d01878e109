"""Shares of the device, admission, and whose unit runs next."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from stream.governor import CostModel, Dial, admits, loads, pick

CHUNK_S = 0.75


def measured(step: float = 0.04, decode: float = 0.1, append: float = 0.05) -> CostModel:
    costs = CostModel()
    for kind, seconds in (("step", step), ("decode", decode), ("append", append)):
        costs.observe(kind, seconds)
    return costs


def dials() -> st.SearchStrategy[Dial]:
    free = st.builds(
        lambda latency, floor, more: Dial(latency, floor, min(50, floor + more)),
        st.floats(200, 30_000),
        st.integers(1, 8),
        st.integers(0, 40),
    )
    return free | st.builds(lambda steps: Dial(steps=steps), st.integers(1, 50))


@given(st.lists(dials(), min_size=1, max_size=6), st.floats(0.001, 0.3))
def test_shares_never_add_up_to_more_than_the_device(sessions: list[Dial], step: float) -> None:
    shares = [1.0 / load for load in loads(measured(step), sessions, chunk_seconds=CHUNK_S)]
    assert len(shares) == len(sessions)
    assert sum(shares) <= 1.0 + 1e-6
    assert all(0.0 < share <= 1.0 for share in shares)


@given(st.lists(dials(), min_size=2, max_size=6))
def test_who_has_less_than_another_has_all_it_can_use(sessions: list[Dial]) -> None:
    """Max-min fairness, in seconds of the device a chunk (every session's fixed work is the same)."""
    costs = measured()
    floors = sum(0.15 + dial.least * 0.04 for dial in sessions) / CHUNK_S
    shares = [1.0 / load for load in loads(costs, sessions, chunk_seconds=CHUNK_S)]
    if floors > 1.0:
        return  # everybody is cut in proportion to the floor: nothing is left to share
    for dial, share in zip(sessions, shares, strict=True):
        quick = max(dial.floor, (dial.latency_s - 0.1 - 0.1) / 0.04)
        want = (0.15 + (dial.most if dial.steps else min(dial.most, quick)) * 0.04) / CHUNK_S
        if share < want - 1e-6:
            above_floor = [
                s for d, s in zip(sessions, shares, strict=True) if s > (0.15 + d.least * 0.04) / CHUNK_S + 1e-6
            ]
            assert share >= max(above_floor, default=0.0) - 1e-6


def test_alone_the_device_is_all_ours_and_unmeasured_it_is_halved() -> None:
    assert loads(measured(), [Dial()], chunk_seconds=CHUNK_S) == [1.0]
    assert loads(CostModel(), [Dial(), Dial()], chunk_seconds=CHUNK_S) == [2.0, 2.0]


def test_what_one_cannot_use_the_other_gets() -> None:
    modest, eager = loads(measured(), [Dial(ceiling=2), Dial()], chunk_seconds=CHUNK_S)
    assert 1 / eager > 0.6 > 0.4 > 1 / modest >= 0.23 / CHUNK_S


def test_the_last_that_fits_comes_in_and_the_next_does_not() -> None:
    costs = measured()  # floor: 0.19 s of 0.75 s
    assert admits(costs, [1, 1, 1], chunk_seconds=CHUNK_S).ok
    refused = admits(costs, [1, 1, 1, 1], chunk_seconds=CHUNK_S)
    assert not refused.ok
    assert "4 sessions" in refused.reason
    assert refused.retry_after > 0


def test_a_higher_floor_leaves_room_for_fewer() -> None:
    assert not admits(measured(), [8, 8], chunk_seconds=CHUNK_S).ok


def test_the_first_always_comes_in_and_slows_down_if_it_must() -> None:
    assert admits(measured(step=2.0), [1], chunk_seconds=CHUNK_S).ok


def test_places_are_limited_whatever_the_load() -> None:
    refused = admits(measured(0.001, 0.001, 0.001), [1, 1, 1], chunk_seconds=CHUNK_S, max_sessions=2)
    assert not refused.ok
    assert "2 places" in refused.reason


def test_unmeasured_costs_admit() -> None:
    assert admits(CostModel(), [1, 1], chunk_seconds=CHUNK_S).ok


# --- whose unit runs next


@dataclass
class Waiting:
    deadline: float
    served: int = 0


nearest = attrgetter("deadline")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_the_nearest_deadline_goes_first(deadlines: list[float]) -> None:
    chosen = pick([Waiting(d) for d in deadlines], deadline=nearest)
    assert chosen is not None
    assert chosen.deadline == min(deadlines)


def test_nobody_there() -> None:
    assert pick([], deadline=nearest) is None


@given(st.lists(st.floats(0.1, 3.0), min_size=2, max_size=8))
def test_nobody_starves_even_when_the_device_is_too_slow_for_all(periods: list[float]) -> None:
    """Deadlines grow with what was served and never with waiting, so whoever waits is in the end the nearest."""
    sessions = [Waiting(period) for period in periods]
    for _ in range(400):
        chosen = pick(sessions, deadline=nearest)
        assert chosen is not None
        chosen.served += 1
        chosen.deadline += periods[sessions.index(chosen)]
    for session, period in zip(sessions, periods, strict=True):
        fair = 400 / sum(1 / p for p in periods) / period
        assert session.served >= fair - 2
