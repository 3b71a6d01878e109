from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.governor import traces
from bench.governor.controllers import Controller, Farcast, Fixed, Paced, Reactive, Stepwise
from bench.governor.offline_optimum import optimum
from bench.governor.sessions import Visit, serve
from bench.governor.single_session import play
from bench.governor.traces import CHUNK_S, PROFILES, TRACES, Trace
from stream.governor import Dial

EMBEDDED, FINE, MEDIUM, COARSE = PROFILES


def best_by_trying(trace: Trace, max_lead: float, quick: float, ceiling: int) -> float | None:
    """The optimum by brute force: every way to give every chunk 1..ceiling steps."""
    best: int | None = None
    for counts in itertools.product(range(1, ceiling + 1), repeat=trace.chunks):
        now, dry = 0.0, CHUNK_S
        for chunk, steps in enumerate(counts):
            start = max(now, dry + CHUNK_S - max_lead)
            work = float(trace.steps[chunk, :steps].sum() + trace.decode[chunk])
            ready = trace.finish(start, work)
            if ready > dry or (ready - start > quick and steps > 1):
                break
            now = trace.finish(start, work + float(trace.append[chunk]))
            dry += CHUNK_S
        else:
            best = max(best or 0, sum(counts))
    return None if best is None else best / trace.chunks


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("max_lead", "quick"), [(1.5, 9.0), (2.2, 0.5)])
def test_the_clairvoyant_is_what_brute_force_finds(name: str, seed: int, max_lead: float, quick: float) -> None:
    trace = traces.make(name, COARSE, seed, 5)
    found = optimum(trace, max_lead=max_lead, quick=quick, floor=1, ceiling=5)
    tried = best_by_trying(trace, max_lead, quick, 5)
    assert found.feasible == (tried is not None)
    if tried is not None:
        assert found.mean_steps == pytest.approx(tried)
        assert len(found.steps) == 5


def test_a_device_that_stands_still_for_ever_has_no_schedule() -> None:
    trace = traces.make("steady", COARSE, 0, 6)
    stopped = Trace(
        *(getattr(trace, name) for name in ("name", "profile", "seed", "steps", "decode", "append")),
        times=np.array([0.0, 1000.0]),
        done=np.array([0.0, 1.0]),
    )
    assert not optimum(stopped, max_lead=2.0, quick=9.0, floor=1, ceiling=6).feasible


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_is_the_same_every_time_and_follows_its_seed(name: str) -> None:
    one, again, other = (traces.make(name, FINE, seed, 20) for seed in (1, 1, 2))
    assert np.array_equal(one.steps, again.steps)
    assert np.array_equal(one.done, again.done)
    assert not np.array_equal(one.steps, other.steps)


def test_work_takes_longer_on_a_slower_device() -> None:
    trace = traces.make("neighbour", FINE, 0, 200)
    assert trace.finish(0.0, 0.5) == pytest.approx(0.5)
    slow = next(at for at in trace.times[1:-1] if trace.finish(at, 0.5) > at + 0.8)
    assert trace.finish(slow, 0.5) < slow + 1.01


@pytest.mark.parametrize("controller", [Farcast(Dial()), Reactive(Dial()), Paced(Dial()), Stepwise(Dial())])
def test_a_run_counts_what_happened(controller: Controller) -> None:
    run = play(traces.make("noisy", FINE, 7, 60), controller)
    assert len(run.steps) == len(run.late) == len(run.opened) == 60
    assert run.misses == sum(late > 0 for late in run.late)
    assert run.over <= 1e-9
    assert all(a < b for a, b in itertools.pairwise(run.opened))


def test_fixed_steps_are_what_they_are() -> None:
    run = play(traces.make("steady", COARSE, 0, 40), Fixed(Dial(), 9))
    assert set(run.steps) == {9}
    assert run.miss_rate > 0.9  # 9 steps of 0.11 s do not fit into 0.75 s
    assert run.changes == 0


@pytest.mark.parametrize("target", [1500.0, 3000.0])
@pytest.mark.parametrize("name", TRACES)
def test_the_governor_is_near_the_optimum_and_on_time(name: str, target: float) -> None:
    """A small sample of what the benchmark measures, with room for the luck of one seed."""
    trace, dial = traces.make(name, FINE, 42, 160), Dial(latency_ms=target)
    run, naive = play(trace, Farcast(dial)), play(trace, Reactive(dial))
    best = optimum(trace, max_lead=run.bound, quick=dial.latency_s - 0.1, floor=1, ceiling=32)
    assert best.feasible
    assert run.misses <= 2
    assert run.mean_steps >= 0.82 * best.mean_steps
    assert run.mean_steps <= best.mean_steps or run.misses > 0
    assert run.changes <= 0.35 * naive.changes


@pytest.mark.parametrize(("target", "steer"), [(500.0, True), (1500.0, True), (1500.0, False)])
def test_every_prompt_is_applied_and_the_policy_meets_its_target(target: float, steer: bool) -> None:
    trace = traces.make("steady", MEDIUM, 3, 160)
    prompts = tuple(5.0 + 4.3 * i for i in range(20))
    seat = serve(trace, [Visit(Dial(latency_ms=target), prompts=prompts, steer=steer)], [trace], seconds=100.0)[0]
    waits = [wait for wait, _ in seat.prompts]
    assert len(waits) == 20
    if steer:
        assert np.quantile(waits, 0.9) <= target / 1000
    else:
        assert np.quantile(waits, 0.9) > target / 1000


def test_the_embedded_model_turns_within_half_a_second() -> None:
    trace = traces.make("noisy", EMBEDDED, 3, 160)
    prompts = tuple(5.0 + 4.3 * i for i in range(20))
    seat = serve(trace, [Visit(Dial(latency_ms=500.0), prompts=prompts)], [trace], seconds=100.0)[0]
    waits = [wait for wait, _ in seat.prompts]
    assert len(waits) == 20
    assert np.quantile(waits, 0.9) <= 0.5


def test_a_flood_of_prompts_starves_nothing() -> None:
    trace = traces.make("steady", MEDIUM, 3, 160)
    prompts = tuple(5.0 + 0.01 * i for i in range(2000))
    seat = serve(trace, [Visit(Dial(latency_ms=500), prompts=prompts)], [trace], seconds=40.0)[0]
    assert len(seat.prompts) + seat.superseded == 2000
    assert max(wait for wait, _ in seat.prompts) < 2.5
    assert any(prompts[-1] in carried for carried in seat.run.carriers)  # the last value always applies
    assert len(seat.run.steps) > 30


def test_sessions_share_the_device_and_get_their_steps_back() -> None:
    works = [traces.make("steady", MEDIUM, seed, 200) for seed in range(3)]
    visits = [Visit(Dial()), Visit(Dial(), come=20.0, leave=80.0), Visit(Dial(), come=40.0, leave=60.0)]
    seats = serve(works[0], visits, works, seconds=110.0)

    def mean(seat: int, start: float, end: float) -> float:
        run = seats[seat].run
        some = [n for n, at in zip(run.steps, run.opened, strict=False) if start <= at < end]
        return sum(some) / len(some)

    assert [seat.run.misses for seat in seats] == [0, 0, 0]
    alone, two, three, again = mean(0, 10, 20), mean(0, 25, 40), mean(0, 48, 60), mean(0, 95, 110)
    assert alone > two > three >= 1.0
    assert again == pytest.approx(alone, abs=1.0)
    assert mean(1, 48, 60) == pytest.approx(three, abs=1.0)
    assert mean(2, 48, 60) == pytest.approx(three, abs=1.0)


def test_a_device_too_slow_for_all_is_late_for_all_alike() -> None:
    """No starvation under earliest deadline first, even when it cannot be won."""
    works = [traces.make("steady", FINE, seed, 200) for seed in range(4)]
    seats = serve(works[0], [Visit(Dial())] * 4, works, seconds=60.0)
    chunks = [len(seat.run.steps) for seat in seats]
    assert min(chunks) >= 0.9 * max(chunks)
    assert min(chunks) > 40
