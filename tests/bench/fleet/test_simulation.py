"""The placement study on a small fleet: ours is more even than random placement, and loses nothing."""

from __future__ import annotations

from bench.fleet.simulation import even, study


def test_best_of_a_few_is_more_even_and_is_not_refused() -> None:
    found = {one.policy: one for one in study(100, 4000)}
    ours = found["best of a few"]
    assert even(list(found.values())) < 0.7
    assert ours.refusals < 0.01
    assert ours.lost == 0
    assert ours.hand_overs > 0, "workers failed"
    assert ours.full == 0
