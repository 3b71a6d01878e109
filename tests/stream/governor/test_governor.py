from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.governor import CostModel, Dial, Governor

CHUNK_S, SHIFT = 0.75, 5.0
DIALS = st.builds(
    lambda latency, floor, more: Dial(latency, floor, min(50, floor + more)),
    st.floats(200, 30_000),
    st.integers(1, 8),
    st.integers(0, 40),
)
FIXED = st.builds(lambda steps: Dial(steps=steps), st.integers(1, 20))


class World:
    """A device with noisy costs and a picture that plays on; drives one governor as an engine would."""

    def __init__(self, dial: Dial, *, step: float = 0.04, decode: float = 0.1, append: float = 0.05, seed: int = 0):
        self.costs = CostModel()
        self.governor = Governor(dial, self.costs, chunk_seconds=CHUNK_S, shift=SHIFT)
        self.cost = {"step": step, "decode": decode, "append": append}
        self.rng = random.Random(seed)
        self.now, self.dry, self.noise = 0.0, 0.0, 0.0

    def unit(self, kind: str) -> None:
        seconds = self.cost[kind] * self.rng.uniform(1.0 - self.noise, 1.0 + self.noise)
        self.now += seconds
        self.costs.observe(kind, seconds)

    def lead(self) -> float:
        return max(0.0, self.dry - self.now)

    def chunk(self) -> list[float]:
        """The noise levels one chunk went through."""
        while (wait := self.governor.may_start(self.now, self.lead())) > 0.0:
            self.now += wait
        plan = self.governor.open_chunk(self.now, self.lead(), playing=self.dry > 0.0)
        levels = [1.0]
        while levels[-1] > 0.0:
            levels.append(self.governor.next_r(self.now, levels[-1], len(levels) - 1))
            self.unit("step")
        self.unit("decode")
        report = self.governor.close_chunk(self.now, len(levels) - 1)
        assert report.steps == len(levels) - 1
        assert report.missed == (self.now > plan.deadline)
        self.dry = max(self.dry, self.now) + CHUNK_S
        self.unit("append")
        return levels

    def steps(self, chunks: int) -> list[int]:
        return [len(self.chunk()) - 1 for _ in range(chunks)]


@settings(max_examples=60)
@given(DIALS | FIXED, st.floats(0.002, 0.4), st.floats(0.0, 0.6), st.floats(0.0, 0.9), st.integers(0, 1000))
def test_every_chunk_is_a_falling_schedule_between_floor_and_ceiling(
    dial: Dial, step: float, decode: float, noise: float, seed: int
) -> None:
    world = World(dial, step=step, decode=decode, seed=seed)
    world.noise = noise
    for _ in range(30):
        levels = world.chunk()
        assert (levels[0], levels[-1]) == (1.0, 0.0)
        assert all(a > b for a, b in pairwise(levels))
        assert dial.least <= len(levels) - 1 <= dial.most


@settings(max_examples=60)
@given(st.lists(DIALS | FIXED, min_size=1, max_size=5), st.floats(0.002, 0.4), st.integers(0, 1000))
def test_the_lead_never_passes_its_bound_and_a_dial_move_applies_to_the_next_chunk(
    moves: list[Dial], step: float, seed: int
) -> None:
    world = World(moves[0], step=step, seed=seed)
    for dial in moves:
        world.governor.set_dial(dial)
        drained = False
        for _ in range(8):
            bound = world.governor.max_lead()
            if world.lead() <= bound:
                drained = True
            steps = len(world.chunk()) - 1
            assert dial.least <= steps <= dial.most
            if drained:  # a smaller target may find more in hand than it would have made
                assert world.lead() <= max(bound, world.governor.max_lead()) + 1e-9


@given(DIALS, st.floats(0.0, 60.0), st.floats(0.0, 60.0))
def test_plans_hold_for_any_lead(dial: Dial, lead: float, later: float) -> None:
    world = World(dial)
    world.steps(2)
    plan = world.governor.open_chunk(world.now, lead)
    assert plan.deadline == world.now + lead
    assert dial.least <= plan.steps <= dial.most
    assert len(plan.sigmas) == plan.steps + 1
    assert 0.0 <= world.governor.next_r(world.now + later, 1.0, 0) < 1.0


@pytest.mark.parametrize("step", [0.037, 0.04, 0.043, 0.09])
def test_a_steady_device_gets_a_budget_and_keeps_it(step: float) -> None:
    world = World(Dial(3000), step=step)
    world.noise = 0.1
    steps = world.steps(220)[20:]
    assert sum(a != b for a, b in pairwise(steps)) <= 6
    assert sum(steps) / len(steps) >= 0.9 * int(0.6 / step)  # 0.75 s less decode and append


def test_it_learns_in_a_few_chunks() -> None:
    assert World(Dial()).steps(8)[-1] >= 10


def test_a_larger_target_buys_steps_and_a_smaller_one_quick_chunks() -> None:
    means = [sum(World(Dial(latency)).steps(40)[10:]) / 30 for latency in (300, 500, 800, 3000)]
    assert means == sorted(means)
    assert means[0] * 2 < means[-1]


def test_a_neighbour_costs_steps_and_gives_them_back() -> None:
    world = World(Dial(3000))
    before = world.steps(40)[-1]
    world.cost = {kind: 2.0 * seconds for kind, seconds in world.cost.items()}
    during = world.steps(40)[-1]
    world.cost = {kind: 0.5 * seconds for kind, seconds in world.cost.items()}
    after = world.steps(40)[-1]
    assert during < before / 2
    assert after == pytest.approx(before, rel=0.2)  # less than that is not worth a change


def test_when_the_deadline_comes_near_the_chunk_is_finished_now() -> None:
    world = World(Dial(3000))
    world.steps(20)
    plan = world.governor.open_chunk(world.now, 1.0)
    assert plan.steps > 4
    first = world.governor.next_r(world.now, 1.0, 0)
    assert first == plan.sigmas[1]
    assert world.governor.next_r(plan.deadline - 0.15, first, 1) == 0.0


def test_with_some_time_left_the_rest_is_spread_over_fewer_steps() -> None:
    world = World(Dial(3000))
    world.steps(20)
    plan = world.governor.open_chunk(world.now, 1.0)
    r = world.governor.next_r(plan.deadline - 0.1 - 3.3 * 0.04, plan.sigmas[2], 2)
    assert 0.0 < r < plan.sigmas[3]


def test_finish_now_waits_for_the_floor() -> None:
    world = World(Dial(3000, floor=4))
    world.steps(20)
    world.governor.open_chunk(world.now, 0.0)
    sigma = 1.0
    for done in range(3):
        sigma = world.governor.next_r(world.now + 9.0, sigma, done)
        assert sigma > 0.0
    assert world.governor.next_r(world.now + 9.0, sigma, 3) == 0.0


def test_a_chunk_that_is_to_finish_early_stops_at_the_floor() -> None:
    for floor in (1, 3):
        world = World(Dial(3000, floor=floor))
        world.steps(20)
        world.governor.open_chunk(world.now, 2.0)
        levels = [1.0]
        while levels[-1] > 0.0:
            levels.append(world.governor.next_r(world.now, levels[-1], len(levels) - 1, finish_early=True))
        assert len(levels) - 1 == floor


def test_a_single_frame_or_a_turn_leaves_the_budget_alone() -> None:
    world = World(Dial(3000))
    before = world.steps(60)[-1]
    world.governor.open_chunk(world.now, world.lead(), frames_seconds=1 / 16, due=world.now + 0.4)
    world.governor.drop_chunk()
    assert world.governor.budget == before


def test_a_lower_ceiling_applies_within_the_chunk() -> None:
    world = World(Dial(3000))
    world.steps(20)
    plan = world.governor.open_chunk(world.now, 2.0)
    world.governor.set_dial(Dial(3000, ceiling=3))
    assert world.governor.next_r(world.now, plan.sigmas[2], 2) == 0.0


def test_fixed_steps_are_not_cut_short() -> None:
    world = World(Dial(steps=12), step=0.3)
    assert world.steps(5) == [12] * 5


def test_while_nothing_is_on_screen_the_target_is_the_deadline() -> None:
    governor = Governor(Dial(1500), CostModel(), chunk_seconds=CHUNK_S, shift=SHIFT)
    assert governor.open_chunk(10.0, 0.0, playing=False).deadline == 11.5


def test_a_turn_brings_the_deadline_forward_and_pays_for_its_encodes() -> None:
    world = World(Dial(3000))
    world.steps(20)
    for kind in ("prompt", "encode"):
        world.costs.observe(kind, 0.1)
    quiet = world.governor.open_chunk(world.now, 1.5).steps
    world.governor.drop_chunk()
    plan = world.governor.open_chunk(world.now, 1.5, due=world.now + 0.7, before=("prompt", "encode"))
    assert plan.deadline == world.now + 0.7
    assert plan.steps < quiet


def test_load_is_paid_in_steps() -> None:
    alone, crowded = World(Dial(3000)), World(Dial(3000))
    alone.steps(20)
    crowded.steps(20)
    for _ in range(12):
        for world, load in ((alone, 1.0), (crowded, 3.0)):
            world.governor.open_chunk(world.now, 1.5, load=load)
            world.governor.drop_chunk()
    assert crowded.governor.budget * 3 < alone.governor.budget


def test_waiting_is_never_shorter_than_a_tick() -> None:
    governor = Governor(Dial(1500), CostModel(), chunk_seconds=CHUNK_S, shift=SHIFT)
    bound = governor.max_lead()
    assert governor.may_start(0.0, bound - CHUNK_S) == 0.0
    assert governor.may_start(0.0, bound - CHUNK_S + 1e-12) >= 0.001
    assert governor.may_start(0.0, bound + 1.0) == pytest.approx(1.0 + CHUNK_S)
