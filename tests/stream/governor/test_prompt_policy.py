from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.governor import CostModel, Dial, EngineSnapshot, plan_prompt
from stream.governor.prompt_policy import OPTIONS

CHUNK_S = 0.75


def measured(step: float = 0.04, decode: float = 0.1, append: float = 0.05, encode: float = 0.08) -> CostModel:
    costs = CostModel()
    for kind, seconds in (("step", step), ("decode", decode), ("append", append), ("encode", encode)):
        costs.observe(kind, seconds)
    return costs


MOMENTS = st.builds(
    EngineSnapshot,
    elapsed=st.floats(0, 2),
    shown_left=st.floats(0, CHUNK_S),
    queued=st.floats(0, 5),
    busy=st.floats(0, 0.2),
    in_progress=st.booleans(),
    done=st.integers(0, 8),
    left=st.integers(0, 8),
)
TARGETS = st.floats(200, 10_000)


def rank(queue: str, chunk: str) -> int:
    return list(OPTIONS).index((queue, chunk))  # type: ignore[arg-type]


@given(MOMENTS, TARGETS, st.integers(1, 20), st.floats(1, 4))
def test_a_turn_keeps_what_it_says(moment: EngineSnapshot, target: float, budget: int, load: float) -> None:
    dial = Dial(target)
    plan = plan_prompt(moment, measured(), dial, chunk_seconds=CHUNK_S, budget=budget, load=load)
    assert (plan.queue, plan.chunk) in OPTIONS
    assert dial.least <= plan.steps <= max(budget, dial.least)
    assert plan.meets == (plan.expected_s <= dial.latency_s)
    assert plan.expected_s >= moment.elapsed
    assert plan.dry_s >= 0.0


@given(MOMENTS, st.integers(1, 20))
def test_more_time_never_makes_a_turn_rougher(moment: EngineSnapshot, budget: int) -> None:
    plans = [
        plan_prompt(moment, measured(), Dial(target), chunk_seconds=CHUNK_S, budget=budget)
        for target in (500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16_000.0, 30_000.0)
    ]
    smooth = [plan for plan in plans if plan.meets and plan.dry_s <= 0.02]
    ranks = [rank(plan.queue, plan.chunk) for plan in smooth]
    assert ranks == sorted(ranks, reverse=True)


@given(MOMENTS)
def test_when_nothing_meets_the_target_the_quickest_is_taken(moment: EngineSnapshot) -> None:
    late = replace(moment, elapsed=10.0)
    plan = plan_prompt(late, measured(), Dial(1000), chunk_seconds=CHUNK_S, budget=8)
    quickest = 10.0 + 0.1 + moment.busy + 0.08 + 0.04 + 0.1
    assert not plan.meets
    assert plan.expected_s == pytest.approx(quickest, abs=1e-6)


def test_with_time_nothing_is_lost() -> None:
    moment = EngineSnapshot(shown_left=0.3, queued=1.5, in_progress=True, done=2, left=4)
    plan = plan_prompt(moment, measured(), Dial(4000), chunk_seconds=CHUNK_S, budget=6)
    assert (plan.queue, plan.chunk, plan.steps) == ("play", "carry", 6)


def test_under_a_short_target_what_is_not_on_screen_goes() -> None:
    moment = EngineSnapshot(shown_left=0.3, queued=1.5, in_progress=True, done=2, left=4)
    plan = plan_prompt(moment, measured(), Dial(600), chunk_seconds=CHUNK_S, budget=6)
    assert (plan.queue, plan.chunk) == ("drop", "restart")
    assert plan.meets


def test_without_a_way_back_the_queue_is_jumped_over() -> None:
    moment = EngineSnapshot(shown_left=0.3, queued=1.5, in_progress=True, done=2, left=4)
    plan = plan_prompt(moment, measured(), Dial(600), chunk_seconds=CHUNK_S, budget=6, can_rewind=False)
    assert (plan.queue, plan.chunk) == ("jump", "restart")


def test_a_chunk_is_not_restarted_again_and_again() -> None:
    moment = EngineSnapshot(shown_left=0.3, queued=1.5, in_progress=True, done=0, left=4)
    for target in (200.0, 600.0, 3000.0):
        plan = plan_prompt(moment, measured(), Dial(target), chunk_seconds=CHUNK_S, budget=6, can_restart=False)
        assert plan.chunk != "restart"
    assert plan_prompt(moment, measured(), Dial(200), chunk_seconds=CHUNK_S, can_restart=False).queue == "jump"


def test_going_back_is_left_alone_where_it_costs_more_than_it_brings() -> None:
    costs = measured()
    moment = EngineSnapshot(shown_left=0.3, queued=1.5)
    assert plan_prompt(moment, costs, Dial(600), chunk_seconds=CHUNK_S, budget=6).queue == "drop"
    for _ in range(3):
        costs.observe("rewind", 1.4)  # a codec that has to decode everything again
    assert plan_prompt(moment, costs, Dial(600), chunk_seconds=CHUNK_S, budget=6).queue == "jump"


def test_under_the_shortest_target_the_picture_jumps() -> None:
    moment = EngineSnapshot(shown_left=0.7, queued=0.75, in_progress=True, done=2, left=4)
    plan = plan_prompt(moment, measured(), Dial(500), chunk_seconds=CHUNK_S, budget=6)
    assert plan.queue == "cut"
    assert plan.steps >= 1


def test_unmeasured_costs_decide_too() -> None:
    assert plan_prompt(EngineSnapshot(), CostModel(), Dial(), chunk_seconds=CHUNK_S).meets


def test_what_replaces_the_queue_waits_for_the_next_tick_of_the_playout_clock() -> None:
    moment = EngineSnapshot(shown_left=0.7, queued=0.75)
    at_once = plan_prompt(moment, measured(), Dial(600), chunk_seconds=CHUNK_S, budget=6)
    ticking = plan_prompt(moment, measured(), Dial(600), chunk_seconds=CHUNK_S, budget=6, frame_s=1 / 16)
    assert at_once.queue == ticking.queue
    assert at_once.queue in ("cut", "jump")
    assert ticking.meets
    assert ticking.steps < at_once.steps or ticking.expected_s == pytest.approx(at_once.expected_s + 1 / 16)


def test_a_frame_is_not_worth_a_rougher_plan() -> None:
    """Nothing meets a target of 200 ms: going back costs a little more than jumping over all that is made."""
    moment, costs = EngineSnapshot(shown_left=0.7, queued=0.75), measured()
    costs.observe("rewind", 0.03)
    rough = plan_prompt(moment, costs, Dial(200), chunk_seconds=CHUNK_S)
    gentle = plan_prompt(moment, costs, Dial(200), chunk_seconds=CHUNK_S, frame_s=1 / 16)
    assert not rough.meets
    assert not gentle.meets
    assert (rough.queue, gentle.queue) == ("jump", "cut")
