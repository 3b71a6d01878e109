from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.governor import CostModel


def fed(seconds: float, times: int = 40, *, kind: str = "step", noise: float = 0.0, seed: int = 0) -> CostModel:
    costs, rng = CostModel(), random.Random(seed)
    for _ in range(times):
        costs.observe(kind, seconds * math.exp(rng.gauss(0.0, noise)))
    return costs


def test_nothing_is_known_of_what_was_never_seen() -> None:
    costs = CostModel()
    assert costs.quantile("step", 0.5) is None
    assert costs.estimate("step", 0.5) == 0.0
    assert costs.latest("step") == 0.0


def test_the_first_observation_is_enough_for_a_guess() -> None:
    assert fed(0.04, 1).quantile("step", 0.9) == pytest.approx(0.04)


def test_a_hiccup_moves_neither_the_median_nor_the_90_percent_quantile() -> None:
    costs = fed(0.04, noise=0.05)
    before = costs.estimate("step", 0.5), costs.estimate("step", 0.9)
    costs.observe("step", 4.0)
    assert (costs.estimate("step", 0.5), costs.estimate("step", 0.9)) == pytest.approx(before, rel=0.03)


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_lasting_change_is_known_after_six_observations(factor: float) -> None:
    costs = fed(0.04, noise=0.05)
    for _ in range(6):
        costs.observe("step", 0.04 * factor)
    assert costs.quantile("step", 0.5) == pytest.approx(0.04 * factor, rel=0.01)


def test_what_happens_once_a_chunk_follows_the_steps() -> None:
    costs = CostModel()
    for _ in range(20):
        costs.observe("decode", 0.2)
        for _ in range(4):
            costs.observe("step", 0.04)
    for _ in range(6):
        costs.observe("step", 0.08)  # a neighbour came; no decode was seen since
    assert costs.quantile("decode", 0.5) == pytest.approx(0.4, rel=0.01)


def test_a_decode_that_grows_dearer_alone_is_learnt_by_itself() -> None:
    costs = CostModel()
    for chunk in range(40):
        costs.observe("decode", 0.2 if chunk < 30 else 0.3)
        for _ in range(4):
            costs.observe("step", 0.04)
    assert costs.quantile("decode", 0.5) == pytest.approx(0.3, rel=0.01)


def test_steady_noise_is_not_taken_for_a_change() -> None:
    costs, rng, medians = fed(0.04, 64, noise=0.15), random.Random(1), []
    for _ in range(3000):
        costs.observe("step", 0.04 * math.exp(rng.gauss(0.0, 0.15)))
        medians.append(costs.estimate("step", 0.5))
    assert max(medians) < 0.04 * 1.12
    assert min(medians) > 0.04 / 1.12


def test_an_unknown_key_falls_back_to_the_kind() -> None:
    costs = fed(0.04)
    for _ in range(8):
        costs.observe("step", 0.16, key="large")
    assert costs.quantile("step", 0.5, "large") == pytest.approx(0.16)
    assert costs.quantile("step", 0.5, "other") == costs.quantile("step", 0.5)


def test_what_came_before_the_first_step_is_kept() -> None:
    costs = CostModel()
    costs.observe("prompt", 0.5)
    costs.observe("step", 0.04)
    assert costs.quantile("prompt", 0.5) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.sampled_from(["step", "decode", "append"]), st.floats()), max_size=200))
def test_no_number_breaks_it(seen: list[tuple[str, float]]) -> None:
    costs = CostModel()
    for kind, seconds in seen:
        costs.observe(kind, seconds, key=len(seen) % 3)
    for kind in ("step", "decode", "append"):
        low, high = costs.quantile(kind, 0.1), costs.quantile(kind, 0.9)
        assert (low is None) == (high is None)
        if low is not None and high is not None:
            assert 0.0 <= low <= high * (1 + 1e-9)


def test_memory_is_bounded_in_keys_and_observations() -> None:
    costs = CostModel()
    for i in range(5000):
        costs.observe("step", 0.04, key=i)
    assert len(costs._windows) <= 256
    assert len(costs._pooled["step"]) <= 64
