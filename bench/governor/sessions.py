"""Several sessions, with prompts, on one simulated device: the engine's loop under a virtual clock.

One unit of work at a time, for the session whose picture runs dry first; between any two units prompts are taken up and
sessions come and go. What the governor package decides is decided here by the same code as in the service.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.governor import CostModel, Dial, EngineSnapshot, Governor, PromptPlan, loads, pick, plan_prompt
from stream.governor.prompt_policy import DELIVERY_S, GOES_BACK, REPLACES

from .controllers import SHIFT
from .single_session import Run
from .traces import CHUNK_S, Trace


@dataclass(frozen=True)
class Visit:
    """A session: there from `come` to `leave`, sending prompts at the given moments. Seconds.

    steer: what a prompt does. True = `plan_prompt`; False = nothing but the next chunk, as servers without a policy do.
    """

    dial: Dial
    come: float = 0.0
    leave: float = math.inf
    prompts: tuple[float, ...] = ()
    steer: bool = True


@dataclass
class Seat:
    """A session in the engine. `ends` are the moments at which the chunks in hand will have been played."""

    visit: Visit
    trace: Trace
    governor: Governor
    run: Run
    chunk: int = 0
    phase: str = "open"
    done: int = 0
    sigma: float = 1.0
    ends: deque[float] = field(default_factory=deque)
    begun: bool = False  # something is on screen
    asked: deque[float] = field(default_factory=deque)  # prompts not taken up yet
    carried: list[float] = field(default_factory=list)  # the prompt that the next chunk to be opened carries, if any
    superseded: int = 0  # prompts replaced by a later one before any frame carried them
    prompt_plan: PromptPlan | None = None
    load: float = 1.0
    finish_early: bool = False
    restarted: bool = False
    prompts: list[tuple[float, PromptPlan | None]] = field(default_factory=list)  # (prompt-to-pixel s, plan)

    def dry(self, now: float) -> float:
        """When the picture runs out of frames."""
        return self.ends[-1] if self.ends else now

    def lead(self, now: float) -> float:
        """Seconds of video in hand."""
        return max(0.0, self.dry(now) - now)

    def deadline(self, now: float) -> float:
        """The session with the nearest deadline gets the device."""
        plan = self.governor.plan
        return plan.deadline if plan is not None else self.dry(now)


def serve(device: Trace, visits: Sequence[Visit], works: Sequence[Trace], *, seconds: float) -> list[Seat]:
    """Play it all. device: how fast the device runs; works: what each visit's units cost on it undisturbed."""
    costs = CostModel()
    seats: list[Seat] = []
    coming = deque(sorted(zip(visits, works, strict=True), key=lambda pair: pair[0].come))
    active: list[Seat] = []
    now = 0.0
    while now < seconds:
        while coming and coming[0][0].come <= now:
            visit, work = coming.popleft()
            governor = Governor(visit.dial, costs, chunk_seconds=CHUNK_S, shift=SHIFT)
            active.append(Seat(visit, work, governor, Run("farcast"), asked=deque(visit.prompts)))
            seats.append(active[-1])
        active = [seat for seat in active if seat.visit.leave > now and seat.chunk < seat.trace.chunks]
        for seat in active:
            _take_up(seat, now)
        waits = [(seat, _wait(seat, now)) for seat in active]
        chosen = pick((s for s, wait in waits if wait <= 0.0), deadline=lambda s: s.deadline(now))  # noqa: B023
        if chosen is None:
            news = [s.asked[0] for s in active if s.asked] + [visit.come for visit, _ in list(coming)[:1]]
            now = max(now + 1e-4, min([now + wait for _, wait in waits] + news + [seconds]))
            continue
        if chosen.phase == "open":
            shares = loads(costs, [s.visit.dial for s in active], chunk_seconds=CHUNK_S)
            chosen.load = shares[active.index(chosen)]
        now = _unit(chosen, device, costs, now)
    return seats


def _wait(seat: Seat, now: float) -> float:
    if seat.phase != "open" or (seat.prompt_plan is not None and seat.prompt_plan.queue in REPLACES):
        return 0.0
    return seat.governor.may_start(now, seat.lead(now))


def _take_up(seat: Seat, now: float) -> None:
    """A prompt has come: decide what becomes of what is made and of what is being made."""
    while seat.ends and seat.begun and seat.ends[0] <= now and len(seat.ends) > 1:
        seat.ends.popleft()
    if not seat.asked or seat.asked[0] > now:
        return
    while seat.asked and seat.asked[0] <= now:  # latest wins
        seat.superseded += len(seat.carried)
        seat.carried = [seat.asked.popleft()]
    at = seat.carried[0]
    if not seat.begun or not seat.visit.steer:
        seat.prompt_plan = None
        return
    shown_left = max(0.0, min(seat.ends[0], seat.dry(now)) - now)
    plan = seat.governor.plan
    going = seat.phase in ("steps", "decode")
    costs = seat.governor.forecast.costs
    moment = EngineSnapshot(
        elapsed=now - at,
        shown_left=shown_left,
        queued=seat.lead(now) - shown_left,
        busy=costs.estimate("append", 0.9) * seat.load if seat.phase == "append" else 0.0,
        in_progress=going,
        done=seat.done,
        left=plan.steps - seat.done if plan is not None and seat.phase == "steps" else 0,
    )
    seat.prompt_plan = plan_prompt(
        moment,
        costs,
        seat.visit.dial,
        chunk_seconds=CHUNK_S,
        budget=seat.governor.budget,
        load=seat.load,
        can_restart=not seat.restarted,
    )
    if seat.prompt_plan.chunk == "restart" and going:
        seat.restarted, seat.phase = True, "open"
        seat.governor.drop_chunk()
        seat.superseded += len(seat.run.carriers.pop())
        seat.run.lead.pop()
        seat.run.opened.pop()
    elif seat.prompt_plan.chunk != "carry":
        seat.finish_early = True
    _drop(seat)


def _drop(seat: Seat) -> None:
    """Between two chunks the rollout can go back to the end of the one on screen."""
    if seat.prompt_plan is not None and seat.prompt_plan.queue in GOES_BACK and seat.phase == "open":
        while len(seat.ends) > 1:
            seat.ends.pop()


def _unit(seat: Seat, device: Trace, costs: CostModel, now: float) -> float:
    """Run the next unit of this seat; returns when it is through."""
    governor, trace = seat.governor, seat.trace
    if seat.phase == "open":
        _open(seat, now)
        if seat.run.carriers[-1]:
            for kind, work in (("prompt", trace.profile.prompt), ("encode", trace.profile.encode)):
                now = _work(device, costs, now, kind, work)
        return now
    if seat.phase == "steps":
        seat.sigma = governor.next_r(now, seat.sigma, seat.done, finish_early=seat.finish_early)
        now = _work(device, costs, now, "step", float(trace.steps[seat.chunk, seat.done]))
        seat.done += 1
        seat.phase = "decode" if seat.sigma == 0.0 else "steps"
    elif seat.phase == "decode":
        now = _work(device, costs, now, "decode", float(trace.decode[seat.chunk]))
        _close(seat, now)
        seat.phase = "append"
    else:
        now = _work(device, costs, now, "append", float(trace.append[seat.chunk]))
        seat.chunk, seat.phase = seat.chunk + 1, "open"
        while seat.ends and seat.ends[0] <= now and len(seat.ends) > 1:
            seat.ends.popleft()
        _drop(seat)
    return now


def _open(seat: Seat, now: float) -> None:
    target = min(seat.carried) + seat.visit.dial.latency_s - DELIVERY_S if seat.carried and seat.visit.steer else None
    seat.governor.open_chunk(
        now,
        seat.lead(now),
        load=seat.load,
        playing=seat.begun,
        due=target,
        before=("prompt", "encode") if seat.carried else (),
    )
    seat.run.bound = max(seat.run.bound, seat.governor.max_lead())
    seat.run.lead.append(seat.lead(now))
    seat.run.opened.append(now)
    seat.run.carriers.append(list(seat.carried))
    seat.carried.clear()
    seat.done, seat.sigma, seat.finish_early, seat.phase = 0, 1.0, False, "steps"


def _close(seat: Seat, now: float) -> None:
    seat.governor.close_chunk(now, seat.done)
    seat.run.steps.append(seat.done)
    seat.run.late.append(now - seat.dry(now) if seat.begun else -1.0)
    carried = seat.run.carriers[-1]
    if carried and seat.prompt_plan is not None and seat.prompt_plan.queue in REPLACES:
        seat.ends.clear()
    shown = max(now, seat.dry(now))
    seat.ends.append(shown + CHUNK_S)
    seat.prompts.extend((shown + DELIVERY_S - at, seat.prompt_plan) for at in carried)
    if carried:
        seat.prompt_plan = None
    seat.begun, seat.restarted = True, False


def _work(device: Trace, costs: CostModel, now: float, kind: str, work: float) -> float:
    end = device.finish(now, work)
    costs.observe(kind, end - now)
    return end
