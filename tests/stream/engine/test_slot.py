"""A session inside the engine: what a prompt does to it."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.governor import Dial
from tests.support.virtual_engine import FPS, SimulatedSession, VirtualEngine

FAST = Dial(latency_ms=700)
SLOW = Dial(latency_ms=3000)


def jumps(session: SimulatedSession) -> list[int]:
    """How many frames the picture went ahead or back at each place where it did not simply go on."""
    return [b.index - a.index - 1 for (_, a), (_, b) in pairwise(session.shown) if b.index != a.index + 1]


def held(session: SimulatedSession, after: float) -> float:
    """The longest time between two frames."""
    times = [at for at, _ in session.shown if at >= after]
    return max(b - a for a, b in pairwise(times))


# --- turns


def test_a_prompt_under_a_large_target_loses_nothing() -> None:
    engine = VirtualEngine()
    session = engine.open(dial=SLOW)
    engine.run(8.0)
    serial = engine.prompt("blue")
    engine.run(6.0)
    latency = session.latency(serial)
    assert latency is not None
    assert latency <= 3.0
    assert jumps(session) == []
    assert session.cuts == 0


def test_a_prompt_under_a_small_target_takes_back_what_was_not_begun_and_does_not_jump() -> None:
    """A drop: the frames after the chunk on screen go, and the new chunk follows it without a gap."""
    engine = VirtualEngine()
    session = engine.open(dial=Dial(latency_ms=1000))
    engine.run(6.0)
    engine.run(5.0, until=lambda: session.playout.lead > 1.0)  # more in hand than the target allows to be played out
    serial = engine.prompt("blue")
    engine.run(4.0)
    latency = session.latency(serial)
    assert latency is not None
    assert latency <= 0.9
    assert session.cuts == 1
    assert jumps(session) == []
    assert held(session, 1.0) < 0.1


def test_a_cut_jumps_no_further_than_a_chunk() -> None:
    engine = VirtualEngine()
    session = engine.open(dial=Dial(latency_ms=400))
    engine.run(6.0)
    for _ in range(12):
        serial = engine.prompt("blue")
        engine.run(2.37)
        latency = session.latency(serial)
        assert latency is not None
        assert latency <= 0.4
    assert jumps(session)
    assert all(0 < jump <= 12 for jump in jumps(session))


def test_without_a_way_back_it_jumps_over_all_that_waits() -> None:
    engine = VirtualEngine(back=0)
    session = engine.open(dial=Dial(latency_ms=400))
    engine.run(6.0)
    for _ in range(6):
        serial = engine.prompt("blue")
        engine.run(2.37)
        latency = session.latency(serial)
        assert latency is not None
        assert latency <= 0.4
    assert session.cuts == 0


def test_the_chunk_that_replaces_the_queue_is_the_one_with_the_prompt() -> None:
    """A second prompt may not restart the chunk again; that chunk, under the first, must not replace anything."""
    engine = VirtualEngine(back=0, costs={"decode": 0.4})
    session = engine.open(dial=Dial(latency_ms=500))
    engine.run(6.0)
    first = engine.prompt("blue")
    engine.run(0.06)
    engine.prompt("green")
    engine.run(0.06)
    last = engine.prompt("white")
    engine.run(4.0)
    cutting = [made for made in session.made if made.replaces_queue]
    assert cutting
    assert all(made.prompt_serial != 0 for made in cutting)
    assert session.latency(last) is not None
    assert first in session.replaced or session.latency(first) is not None


def test_a_drop_is_not_lost_when_the_chunk_in_the_making_is_denoised_already() -> None:
    engine = VirtualEngine()
    session = engine.open(dial=FAST)
    engine.run(6.0)
    slot = session.slot
    engine.run(5.0, until=lambda: slot.current is not None and slot.rollout.next().kind == "decode")
    made = len(session.made)
    serial = engine.prompt("blue")
    engine.run(3.0)
    assert session.made[made].prompt_serial == serial  # it was begun anew, not decoded first
    latency = session.latency(serial)
    assert latency is not None
    assert latency <= 0.7


def test_an_append_that_is_pending_is_counted() -> None:
    engine = VirtualEngine(costs={"append": 0.2})
    session = engine.open(dial=FAST)
    engine.run(6.0)
    engine.run(5.0, until=lambda: session.slot.rollout.next().kind == "append")
    assert session.slot._moment(engine.now, engine.now, None).busy == pytest.approx(0.2, rel=0.05)
    engine.answer(session.slot.run(), session)
    assert session.slot._moment(engine.now, engine.now, None).busy == 0.0


def test_a_picture_that_was_not_seen_is_not_taken_back() -> None:
    engine = VirtualEngine()
    session = engine.open(dial=FAST)
    engine.run(6.0)
    engine.picture(np.full((16, 16, 3), 200, np.uint8))
    engine.run(0.25)
    serial = engine.prompt("blue")
    engine.run(4.0)
    assert session.latency(serial) is not None
    assert any(made.image_serial for made in session.made)
    first = next(made for made in session.made if made.image_serial)
    assert any(frame.chunk == first.chunk for _, frame in session.shown)


def test_a_prompt_in_force_stays_when_a_picture_drops_the_chunks_that_carried_it() -> None:
    engine = VirtualEngine()
    session = engine.open(dial=Dial(latency_ms=700))
    engine.run(6.0)
    engine.prompt("blue")
    engine.run(0.3)
    engine.picture(np.full((16, 16, 3), 200, np.uint8))
    engine.run(4.0)
    rollout = session.slot.rollout
    assert rollout.texts[-1] == "blue"  # type: ignore[attr-defined]


def test_after_a_pause_the_lead_is_what_waits() -> None:
    engine = VirtualEngine()
    session = engine.open(dial=SLOW)
    engine.run(8.0)
    engine.pause(True)
    engine.run(30.0)
    waiting = len(session.playout)
    engine.pause(False)
    engine.run(0.001)
    assert session.slot.mirror.frames(engine.now) == pytest.approx(waiting, abs=1.5)


# --- always

ACTIONS = st.sampled_from(["prompt", "prompt", "prompt", "dial", "pause", "resume", "rewind", "picture"])
LATENCIES = st.sampled_from([200.0, 350.0, 500.0, 800.0, 1500.0, 4000.0, 30_000.0])
STEPS = st.lists(
    st.tuples(ACTIONS, st.sampled_from([0.0, 0.003, 0.05, 0.2, 0.7, 2.0]), LATENCIES, st.integers(1, 6)),
    min_size=1,
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(STEPS, st.integers(0, 10_000), st.sampled_from([0.0, 0.004, 0.05]), st.sampled_from([0, 1, 4]))
def test_whatever_happens(steps: list[tuple[str, float, float, int]], seed: int, delay: float, back: int) -> None:
    """Every prompt is shown or replaced and the last is shown; the engine's idea of the queue comes true; no chunk has
    fewer steps than the floor or more than the ceiling; the lead is within its bound; the picture never goes back but
    for a rewind."""
    rng = random.Random(seed)
    engine = VirtualEngine(
        costs={"step": 0.03}, delay=lambda: rng.uniform(0.0, delay), noise=lambda: rng.uniform(0.7, 1.4), back=back
    )
    session = engine.open()
    dials: dict[int, Dial] = {0: Dial()}
    engine.run(3.0)
    for action, wait, latency, floor in steps:
        if action == "prompt":
            engine.prompt(rng.choice(["red", "blue", "green", "white"]))
        elif action == "dial":
            setting = Dial(latency, floor, floor + rng.randint(0, 20))
            dials[engine.dial(setting)] = setting
        elif action == "rewind":
            engine.rewind(session.slot.rollout.chunk - rng.randint(0, 3))
        elif action == "picture":
            engine.picture(np.full((16, 16, 3), rng.randint(0, 255), np.uint8))
        else:
            engine.pause(action == "pause")
        engine.run(wait)
        bound = max(session.slot.governor.max_lead(), 6.0 - session.slot.facts.chunk_seconds)
        assert session.slot.lead(engine.now) <= bound + 1.0 / FPS
    engine.pause(False)
    engine.run(10.0)
    engine.settle()
    assert session.slot.mirror.frames(engine.now) == pytest.approx(len(session.playout), abs=1.5 + FPS * delay)
    # Prompts.
    applied = {frame.serial for _, frame in session.shown}
    if session.asked:
        last = max(session.asked)
        assert last in applied
        assert session.shown[-1][1].serial == last
    # Steps, while a dial was in force.
    for made in session.made:
        lows = [dial.floor for dial in dials.values()]
        highs = [dial.ceiling for dial in dials.values()]
        assert min(lows) <= made.steps <= max(highs) or made.image_serial or made.steps == 0
    final = dials[max(dials)]
    for made in session.made[-3:]:
        assert final.floor <= made.steps <= final.ceiling
    # Order.
    assert sum(jump < 0 for jump in jumps(session)) <= session.rewinds


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([300.0, 500.0, 1500.0]))
def test_a_flood_of_prompts_is_answered_and_starves_nobody(seed: int, target: float) -> None:
    rng = random.Random(seed)
    engine = VirtualEngine(noise=lambda: rng.uniform(0.8, 1.3))
    flooded, quiet = engine.open("flooded", Dial(target)), engine.open("quiet")
    engine.run(4.0)
    before = len(flooded.shown)
    end = engine.now + 6.0
    while engine.now < end:
        last = engine.prompt(rng.choice(["red", "blue"]), "flooded")
        engine.run(rng.uniform(0.002, 0.02))
    during = len(flooded.shown) - before
    engine.run(4.0)
    assert during > 0.5 * 6.0 * FPS  # the picture goes on
    applied = {frame.serial for _, frame in flooded.shown}
    assert last in applied
    assert len(applied) > 5
    assert held(quiet, 4.0) < 0.3  # whoever sits beside it goes on, but for the length of one decode


def test_a_flood_of_rewinds_slows_nobody_beside_it() -> None:
    engine = VirtualEngine(costs={"rewind": 0.004})
    engine.open("flooding")
    quiet = engine.open("quiet")
    engine.run(6.0)
    end = engine.now + 8.0
    while engine.now < end:
        engine.rewind(0, "flooding")
        engine.run(1 / 1800)
    assert held(quiet, 6.0) < 0.2
    assert len([at for at, _ in quiet.shown if at >= 6.0]) > 7.5 * FPS


def test_of_rewinds_in_quick_succession_the_last_one_counts() -> None:
    engine = VirtualEngine()
    session = engine.open()
    engine.run(8.0)
    for chunk in (5, 4, 3, 2, 1):
        engine.rewind(chunk)
        engine.run(0.01)
    engine.run(0.3)
    assert session.rewinds == 2
    engine.run(4.0)
    back_to = [b.chunk for a, b in pairwise(session.made) if b.chunk <= a.chunk]
    assert len(back_to) == 2
    assert back_to[1] < back_to[0]


def test_a_prompt_that_its_unit_refuses_is_refused_and_the_session_goes_on() -> None:
    engine = VirtualEngine()
    session = engine.open()
    engine.run(4.0)
    serial = engine.prompt("too late")
    engine.run(3.0)
    assert [(event.serial, event.code) for event in session.refused] == [(serial, "invalid_prompt")]
    before = len(session.made)
    following = engine.prompt("blue")
    engine.run(4.0)
    assert len(session.made) > before + 3
    assert session.latency(following) is not None
    assert session.latency(serial) is None


def test_hundreds_of_dial_moves_a_second_leave_the_last_in_force() -> None:
    engine = VirtualEngine()
    session = engine.open()
    engine.run(3.0)
    rng = random.Random(1)
    for _ in range(400):
        engine.dial(Dial(rng.uniform(200, 30_000), 1, rng.randint(1, 32)))
        engine.run(0.0025)
    last = engine.dial(Dial(1500.0, 3, 5))
    engine.run(8.0)
    assert session.dials[-1].serial == last
    assert len(session.dials) == 401
    assert {made.steps for made in session.made[-2:]} <= {3, 4, 5}
    assert jumps(session) == []
    assert held(session, 1.0) < 0.12


def test_sessions_share_the_device_lose_steps_and_get_them_back() -> None:
    engine = VirtualEngine()
    first = engine.open("a")
    engine.run(20.0)
    alone = [made.steps for made in first.made[-5:]]
    engine.open("b")
    engine.open("c")
    engine.run(20.0)
    together = [made.steps for made in first.made[-5:]]
    assert all(held(session, engine.now - 15.0) < 0.1 for session in engine.sessions.values())
    engine.leave("b")
    engine.leave("c")
    engine.run(20.0)
    again = [made.steps for made in first.made[-5:]]
    assert max(together) < min(alone) / 2
    assert min(again) >= 0.8 * min(alone)
    assert jumps(first) == []
