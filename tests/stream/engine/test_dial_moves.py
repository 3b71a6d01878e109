"""The dial over its whole range: where the step budget settles, and what latency is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.governor import Dial
from tests.support.virtual_engine import VirtualEngine

TARGETS_MS = (200.0, 400.0, 700.0, 1000.0, 1500.0, 2500.0, 4000.0, 6000.0, 10_000.0, 30_000.0)
SETTLED = 10  # chunks after a move
DEVICES = (
    {"step": 0.015},  # 30 steps a chunk
    {"step": 0.03},  # 19
    {"step": 0.1, "decode": 0.2},  # 5
    {"step": 0.3, "decode": 0.05},  # 2
)


def settled_steps(costs: dict[str, float], moves: list[float]) -> dict[float, list[int]]:
    """Steps of the six chunks after the budget should have settled, for every move."""
    engine = VirtualEngine(costs=costs)
    session = engine.open(dial=Dial(moves[0]))
    engine.run(8.0)
    steps: dict[float, list[int]] = {}
    for target in moves:
        engine.dial(Dial(target))
        before = len(session.made)
        engine.run(60.0, until=lambda: len(session.made) >= before + SETTLED + 6)  # noqa: B023
        steps.setdefault(target, []).extend(made.steps for made in session.made[before + SETTLED :])
    return steps


@pytest.mark.parametrize("costs", DEVICES, ids=lambda costs: f"step={costs['step']}")
def test_from_now_to_good_the_budget_rises_within_ten_chunks(costs: dict[str, float]) -> None:
    steps = settled_steps(costs, [200.0, 1500.0, 200.0, 30_000.0])
    assert min(steps[30_000.0]) >= min(steps[1500.0])
    assert min(steps[1500.0]) > max(steps[200.0])


@settings(max_examples=12, deadline=None)
@given(st.permutations(TARGETS_MS), st.sampled_from(DEVICES))
def test_a_larger_target_never_settles_at_fewer_steps(moves: list[float], costs: dict[str, float]) -> None:
    """In whatever order the dial is moved; but for the governor's hysteresis, one step or a tenth."""
    steps = settled_steps(costs, moves)
    most = 0
    for target in sorted(steps):
        band = max(1.0, 0.1 * most)
        assert min(steps[target]) >= most - band, (target, steps)
        assert max(steps[target]) - min(steps[target]) <= max(1.0, 0.1 * max(steps[target])), (target, steps)
        most = max(most, *steps[target])


def test_the_latency_that_is_kept_is_reported() -> None:
    """The lead is bounded to 6 s here, so no prompt waits longer than that and its delivery."""
    engine = VirtualEngine()
    session = engine.open()
    engine.run(2.0)
    engine.dial(Dial(1500.0))
    engine.dial(Dial(30_000.0))
    engine.run(20.0)
    assert [event.kept_ms for event in session.dials] == [1500.0, pytest.approx(6100.0)]
    serial = engine.prompt("blue")
    engine.run(8.0)
    latency = session.latency(serial)
    assert latency is not None
    assert latency <= 6.1
