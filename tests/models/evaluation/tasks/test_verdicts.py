"""Starts and switches are judged on the true world, where the right verdict is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.prompts import Task, asked, draw
from models.evaluation.tasks import i2v_v2v, prompt_switch
from models.toyworld import Scene, caption, render, simulate

RED = Scene("square", "red", "big", "drifting", "grey")
BORDERS = list(range(1, 97, 12))
START = BORDERS[prompt_switch.BEFORE - 1]


def play(after: Scene, at: int = START) -> np.ndarray:
    return render(simulate([(0, RED), (at, after)], 97, np.random.default_rng(2)))


@pytest.mark.parametrize("change", [{"colour": "blue"}, {"background": "navy"}, {"shape": "heart"}, {"size": "small"}])
def test_a_switch_shows_at_once_and_the_rest_stays(change: dict[str, str]) -> None:
    case = prompt_switch.Case(RED, replace(RED, **change), next(iter(change)), 0)
    found = prompt_switch.judge(play(case.after), case, BORDERS)
    assert found.valid
    assert (found.chunks, found.kept) == (1, 1.0)
    assert found.good


def test_a_late_switch_and_none_at_all() -> None:
    case = prompt_switch.Case(RED, replace(RED, colour="blue"), "colour", 0)
    assert prompt_switch.judge(play(case.after, at=BORDERS[5]), case, BORDERS).chunks == 4
    never = prompt_switch.judge(play(RED), case, BORDERS)
    assert never.chunks == prompt_switch.LATE
    assert not never.good


def test_an_object_that_jumps_is_not_good() -> None:
    case = prompt_switch.Case(RED, replace(RED, colour="blue"), "colour", 0)
    frames = play(case.after)
    frames[START:] = np.roll(frames[START:], 20, axis=1)
    found = prompt_switch.judge(frames, case, BORDERS)
    assert found.chunks == 1
    assert not found.good


def test_switches_change_one_attribute() -> None:
    for case in prompt_switch.draw(16, 0):
        differing = [name for name in vars(RED) if getattr(case.before, name) != getattr(case.after, name)]
        assert differing == [case.attribute]


def test_the_truth_continues_as_itself() -> None:
    truth = render(simulate([(0, RED)], 49, np.random.default_rng(4)))
    task = Task(RED, caption(RED), asked(RED, caption(RED)), 0)
    found = i2v_v2v.judge(truth, truth, task, i2v_v2v.GIVEN)
    assert found.first_psnr > 50
    assert (found.same, found.jumps, found.motion) == (True, False, True)
    assert max(found.drift) < 0.01
    other = render(simulate([(0, replace(RED, colour="green"))], 49, np.random.default_rng(9)))
    wrong = i2v_v2v.judge(np.concatenate([truth[:25], other[25:]]), truth, task, i2v_v2v.GIVEN)
    assert not wrong.same


def test_prompts_are_drawn_once_and_say_what_they_are_judged_on() -> None:
    tasks = draw("t2v", 60, 0)
    assert tasks == draw("t2v", 60, 0)
    assert [t.text for t in tasks] != [t.text for t in draw("t2v", 60, 1)]
    for task in tasks:
        assert {"colour", "shape"} <= task.asked
    plain = caption(RED)
    assert asked(RED, plain) == {"colour", "shape", "size", "background", "motion"}
    assert asked(RED, "a red box") == {"colour", "shape"}
