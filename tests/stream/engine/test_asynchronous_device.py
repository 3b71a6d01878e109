"""The engine over a device that runs behind its host: the same decisions as over one that does not."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from stream.engine.device_queue import AHEAD, SPARE, Completed, DeviceQueue
from stream.governor import CostModel, Dial
from tests.support.asynchronous_engine import AsynchronousEngine
from tests.support.fake_backend import FakeModel, FakeRollout, FakeUnit
from tests.support.virtual_engine import SimulatedSession, VirtualEngine

H100 = {"prompt": 0.002, "encode": 0.137, "step": 0.063, "decode": 0.22, "append": 0.134}  # 1.3B, predicted
TINY_DECODER = {**H100, "decode": 0.008}
SECONDS = 40.0


def jitter(seed: int) -> Callable[[], float]:
    rng = random.Random(seed)
    return lambda: rng.uniform(0.97, 1.05)


def late(session: SimulatedSession) -> list[int]:
    return [made.chunk for made in session.made if made.late > 0.0 and made.chunk > 0]


def steps(session: SimulatedSession) -> list[int]:
    return [made.steps for made in session.made]


@pytest.mark.parametrize("costs", [H100, TINY_DECODER])
@pytest.mark.parametrize("latency", [1500.0, 3000.0])
def test_the_same_steps_as_over_a_synchronous_device_and_no_chunk_late(costs: dict[str, float], latency: float) -> None:
    dial = Dial(latency_ms=latency)
    plain = VirtualEngine(costs=costs, noise=jitter(1))
    behind = AsynchronousEngine(costs=costs, noise=jitter(1))
    expected, session = plain.open(dial=dial), behind.open(dial=dial)
    plain.run(SECONDS)
    behind.run(SECONDS)
    settled = list(zip(steps(expected), steps(session), strict=False))[12:]
    assert len(settled) > 20
    assert all(abs(a - b) <= 1 for a, b in settled), settled
    assert late(session) == late(expected) == [1]  # the first full chunk comes after a chunk of one frame
    assert max(steps(session)[12:]) - min(steps(session)[12:]) <= 1


def test_costs_are_those_of_the_device_not_of_the_launch() -> None:
    engine = AsynchronousEngine(costs=H100, launch_s=0.002)
    engine.open(dial=Dial(latency_ms=1e3 * 2.0))
    engine.run(15.0)
    for kind in ("step", "decode", "append"):
        assert engine.shared.estimate(kind, 0.5) == pytest.approx(H100[kind], rel=0.02)


def test_the_device_does_not_wait_for_the_host() -> None:
    """The append begins when the decode ends, though its frames are fetched and sent then."""
    engine = AsynchronousEngine(costs=H100)
    engine.open(dial=Dial(latency_ms=1e3 * 2.0, steps=3))
    engine.run(20.0)
    late = engine.launches[-60:]
    gaps = [nxt[1] - this[2] for this, nxt in pairwise(late) if this[3] == "decode"]
    assert gaps
    assert max(gaps) < 1e-3
    assert all(nxt[0] < this[2] for this, nxt in pairwise(late) if this[3] == "decode")


def test_a_prompt_never_waits_longer_than_one_step() -> None:
    engine = AsynchronousEngine(costs=TINY_DECODER, noise=jitter(3))
    session = engine.open(dial=Dial(latency_ms=1e3 * 2.0))
    engine.run(10.0)
    rng, serials = random.Random(5), []
    for number in range(25):
        serials.append(engine.prompt(f"prompt {number}"))
        engine.run(rng.uniform(0.4, 1.7))
    engine.run(4.0)
    longest = max(end - start for _, start, end, _ in engine.launches)
    waits = [max(end for launched, _, end, _ in engine.launches if launched < at) - at for at in session.asked.values()]
    assert max(waits) > 0.0
    assert max(waits) <= longest + 2 * SPARE * engine.launch_s
    shown = [latency for serial in serials if (latency := session.latency(serial)) is not None]
    assert len(shown) > 18  # the rest were replaced by the next one
    assert max(shown) <= 2.0


def test_two_sessions_share_a_device_that_runs_behind() -> None:
    engine = AsynchronousEngine(costs={kind: 0.3 * cost for kind, cost in H100.items()}, noise=jitter(2))
    sessions = [engine.open(name, dial=Dial(latency_ms=1e3 * 3.0)) for name in ("a", "b")]
    engine.run(30.0)
    for session in sessions:
        chunks = [made.chunk for made in session.made]
        assert chunks == list(range(len(chunks)))
        assert late(session) in ([], [1])
    assert max(len(session.made) for session in sessions) > 25


class Endless:
    """A timer whose units end when they are told to."""

    def __init__(self) -> None:
        self.ended: list[bool] = []

    def launch(self, rollout: object, unit: object, r: float | None) -> Endless:
        return self

    def done(self) -> bool:
        return bool(self.ended)

    def seconds(self) -> float:
        self.ended.append(True)
        return 1.0

    def frames(self) -> None:
        return None


def test_the_queue_holds_one_unit_ahead_and_knows_its_owner() -> None:
    queue = DeviceQueue(Endless(), CostModel(), lambda: 0.0)
    rollout, owner = FakeRollout(FakeModel(16, {}), "red"), object()
    for kind in ("decode", "append"):
        queue.launch(owner, rollout, FakeUnit(kind), None)
    assert len(queue.flights) == AHEAD + 1
    assert queue.wait(0.0) > 0.0
    with pytest.raises(AssertionError, match="too many"):
        queue.launch(owner, rollout, FakeUnit("step"), 0.0)
    assert queue.finish(object()) == []
    queue.forget(owner)
    assert queue.finish(owner) == []
    assert queue.completed() == []


def test_a_unit_that_ran_at_once_is_complete_with_its_frames() -> None:
    frames = np.zeros((1, 2, 2, 3), np.uint8)
    done = Completed(0.25, frames)
    assert done.done()
    assert (done.seconds(), done.frames()) == (0.25, frames)
