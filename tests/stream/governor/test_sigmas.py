from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rollout.flowmap import schedule as reference
from stream.governor import sigmas

STEPS = st.integers(1, 50)
SHIFTS = st.floats(1.0, 12.0)


@given(STEPS, SHIFTS)
def test_a_schedule_falls_strictly_from_one_to_zero(steps: int, shift: float) -> None:
    levels = sigmas.schedule(steps, shift)
    assert (levels[0], levels[-1], len(levels)) == (1.0, 0.0, steps + 1)
    assert all(a > b for a, b in pairwise(levels))


@given(STEPS, SHIFTS, st.floats(0.01, 1.0))
def test_a_tail_falls_strictly_from_anywhere_to_zero(steps: int, shift: float, sigma: float) -> None:
    levels = sigmas.tail(sigma, steps, shift)
    assert (levels[0], levels[-1], len(levels)) == (sigma, 0.0, steps + 1)
    assert all(a > b for a, b in pairwise(levels))


@given(st.integers(2, 50), SHIFTS, st.data())
def test_the_tail_of_a_schedule_is_the_rest_of_it(steps: int, shift: float, data: st.DataObject) -> None:
    whole = sigmas.schedule(steps, shift)
    done = data.draw(st.integers(0, steps - 1))
    assert sigmas.tail(whole[done], steps - done, shift) == pytest.approx(whole[done:], abs=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16, 50])
def test_the_model_has_the_same_schedule(steps: int) -> None:
    assert sigmas.schedule(steps, 5.0) == pytest.approx(reference(steps, 5.0), abs=1e-12)
