from __future__ import annotations

import math
from typing import Any

import pytest

from stream.governor import Dial, GovernorError

YEAR_MS = 365 * 24 * 3600 * 1000.0


@pytest.mark.parametrize("latency", [0, -1, math.nan, math.inf, -math.inf, YEAR_MS, 199.9, 30_000.1, "1", None, True])
def test_a_latency_that_makes_no_sense_is_refused_by_name(latency: Any) -> None:
    with pytest.raises(GovernorError, match="latency_ms"):
        Dial(latency_ms=latency)


@pytest.mark.parametrize("bad", [0, -3, 51, 1.5, math.nan, "2", True])
@pytest.mark.parametrize("name", ["floor", "ceiling", "steps"])
def test_a_step_count_that_makes_no_sense_is_refused_by_name(name: str, bad: Any) -> None:
    with pytest.raises(GovernorError, match=name):
        Dial(**{name: bad})


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(GovernorError, match="floor 5 and ceiling 4"):
        Dial(floor=5, ceiling=4)


def test_fixed_steps_are_both_least_and_most() -> None:
    dial = Dial(floor=2, ceiling=8, steps=50)
    assert (dial.least, dial.most) == (50, 50)
    assert (Dial(floor=2, ceiling=8).least, Dial(floor=2, ceiling=8).most) == (2, 8)
