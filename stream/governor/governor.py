"""How many steps may this chunk have? Asked for every chunk, and again before every step.

Three questions decide. Is it safe: is the 90 % quantile of the finish before the picture runs dry? Does it last: can
the lead bear chunks of this size, one after the other, for a while? Is it quick: does the chunk take no longer than the
latency target? A budget stays as long as all three hold; it rises only to what would last much longer, and falls to
what lets the lead recover: that is the hysteresis. The clock is injected; nothing here sleeps, measures or knows the
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import sigmas
from .costs import CostModel
from .dial import Dial
from .forecast import Forecast
from .prompt_policy import DELIVERY_S

MAX_LEAD_S = 30.0
TICK_S = 0.001  # no use in waiting for less


@dataclass(frozen=True)
class Tuning:
    """The numbers of the rules. Chosen on development seeds of the simulator, judged on others.

    margin_s: a chunk should be ready so long before it is due. safe_q: quantile of the finish that must be in time.
    rise_slack: how much dearer than forecast a chunk must be affordable before the budget rises. rise_after: chunks in
    a row that must agree. rise_gain: least relative gain worth a change. rise_lead: share of the full lead there must
    be for that; rise_early: the gain that is worth it with less. keep, rise, fall: chunks for which the lead must bear
    a budget that is kept, risen to, fallen to. recover: share of the missing lead to win back after a fall. quick_q,
    quick_slack: quantile of the making of a chunk that must be within the latency target, and how far a kept budget may
    exceed it. slow_q: a moment is slow when the last steps are beyond this quantile. guard: share of the remaining time
    kept free when a chunk is re-checked. lead: chunks of lead that the budget may count on, though there may be more.
    fresh: chunks after a dial move in which any gain is worth a change.
    """

    margin_s: float = 0.03
    safe_q: float = 0.9
    rise_slack: float = 0.08
    rise_after: int = 3
    rise_gain: float = 0.2
    rise_lead: float = 0.8
    rise_early: float = 0.5
    keep: float = 1.0
    rise: float = 40.0
    fall: float = 12.0
    recover: float = 0.5
    quick_slack: float = 0.1
    quick_q: float = 0.75
    slow_q: float = 0.9
    lead: float = 2.0
    fresh: int = 8
    guard: float = 0.05


@dataclass(frozen=True)
class ChunkPlan:
    """deadline: clock time at which the picture runs dry. sigmas: steps + 1 noise levels, 1 down to 0."""

    deadline: float
    steps: int
    sigmas: tuple[float, ...]


@dataclass(frozen=True)
class ChunkReport:
    """How a chunk ended. late_s: seconds after its deadline, negative when early."""

    missed: bool
    late_s: float
    steps: int


class Governor:
    """The decisions for one session. One chunk is open at a time."""

    def __init__(
        self,
        dial: Dial,
        costs: CostModel,
        *,
        chunk_seconds: float,
        shift: float,
        lead_cap: float = MAX_LEAD_S,
        fixed_sigmas: tuple[float, ...] = (),
        tuning: Tuning | None = None,
    ) -> None:
        """lead_cap: most seconds of video that may wait to be shown, whatever the dial says; at least one chunk.

        fixed_sigmas: the noise levels of a model that runs at no others; every chunk then takes these.
        """
        assert chunk_seconds > 0.0, chunk_seconds
        assert shift >= 1.0, shift
        self.dial = replace(dial, steps=len(fixed_sigmas) - 1) if fixed_sigmas else dial
        self.fixed_sigmas = fixed_sigmas
        self.chunk_seconds = chunk_seconds
        self.shift = shift
        self.lead_cap = max(lead_cap, chunk_seconds)
        self.tuning = tuning or Tuning()
        self.forecast = Forecast(costs)
        self.budget = self.dial.least  # the step budget in force
        self.plan: ChunkPlan | None = None
        self._opened = 0.0
        self._plain = True  # the open chunk had nothing to run before its first step
        self._moved = 0  # chunks for which a dial move counts as recent
        self._agreeing: list[int] = []  # what the last chunks in a row would have risen to

    @property
    def load(self) -> float:
        """How many times longer than alone this session's work takes."""
        return self.forecast.load

    def set_dial(self, dial: Dial) -> None:
        """Latest wins. The new ceiling holds for the chunk in progress, the whole dial for the next one."""
        if dial != self.dial:
            self.dial = dial
            self._agreeing.clear()
            self._moved = self.tuning.fresh

    @property
    def kept_s(self) -> float:
        """The prompt-to-pixel time that is really kept: the dial's target, or less where the lead is bounded."""
        return min(self.dial.latency_s, self.lead_cap + DELIVERY_S)

    def max_lead(self) -> float:
        """Seconds of video this session may have in hand.

        One chunk on screen and one in hand, plus what the latency target allows: a new prompt can take back the chunks
        that were not begun. A short target that leaves little time for a chunk needs less than two.
        """
        work = self.forecast.ready(self.dial.least) * self.forecast.ratio(self.tuning.safe_q)
        target = self.dial.latency_s - DELIVERY_S
        short = self.chunk_seconds + min(self.chunk_seconds, max(1.5 * work, target + 0.35 * self.chunk_seconds))
        return min(max(target + self.chunk_seconds, short), self.lead_cap)

    def may_start(self, now: float, lead: float) -> float:
        """0 when the next chunk may start, else the seconds to wait so that the lead stays within its bound."""
        wait = lead + self.chunk_seconds - self.max_lead()
        return max(wait, TICK_S) if wait > 0.0 else 0.0

    def open_chunk(
        self,
        now: float,
        lead: float,
        *,
        load: float = 1.0,
        frames_seconds: float | None = None,
        playing: bool = True,
        due: float | None = None,
        before: Sequence[str] = (),
    ) -> ChunkPlan:
        """Decide the next chunk.

        lead: seconds of video in hand. load: how many times longer than alone this session's work takes, because others
        share the device (1 = alone). frames_seconds: how long this chunk plays, when not the usual. playing: False
        while nothing is on screen yet; the chunk is then due at the latency target. due: an earlier deadline, as for
        the first chunk under a new prompt. before: kinds of units that must run first ("prompt", "encode").
        """
        self.forecast.load = max(1.0, load)
        dry = now + (max(0.0, lead) if playing else self.dial.latency_s)
        deadline = dry if due is None else min(dry, due)
        reserve = self.tuning.margin_s + self.forecast.fixed(*before)
        shorter = 0.0 if frames_seconds is None else self.chunk_seconds - frames_seconds
        if self.forecast.known:
            self._rebudget(dry - now - reserve, shorter)  # a prompt that is due is no reason for a lasting change
        self._moved = max(0, self._moved - 1)
        self.budget = self._clamp(self.budget)
        steps = self.budget
        if self.forecast.known:
            steps = self._clamp(min(steps, self._safe(deadline - now - reserve)))
        self.plan = ChunkPlan(deadline, steps, self.fixed_sigmas or sigmas.schedule(steps, self.shift))
        self._opened, self._plain = now, not before
        return self.plan

    def next_r(self, now: float, sigma: float, done: int, *, finish_early: bool = False) -> float:
        """The noise level to go to from `sigma` when `done` steps have run; 0 = finish now.

        finish_early: a prompt waits, so no more steps than the floor asks for.
        """
        assert self.plan is not None, "open_chunk first"
        wanted = self.dial.least if finish_early else min(self.plan.steps, self.dial.most)
        left = max(wanted - done, self.dial.least - done, 1)
        if left > 1 and self.forecast.known:
            left = max(min(left, self._still(self.plan.deadline - now)), self.dial.least - done, 1)
        if left == self.plan.steps - done and sigma == self.plan.sigmas[done]:
            return self.plan.sigmas[done + 1]
        return sigmas.tail(sigma, left, self.shift)[1]

    def close_chunk(self, now: float, steps: int) -> ChunkReport:
        """The chunk is decoded."""
        assert self.plan is not None, "open_chunk first"
        late = now - self.plan.deadline
        if self._plain and self.forecast.known:
            self.forecast.learn(self.forecast.ready(steps), now - self._opened)
        self.plan = None
        return ChunkReport(late > 0.0, late, steps)

    def drop_chunk(self) -> None:
        """The chunk in progress is thrown away, to be opened again."""
        self.plan = None

    def _rebudget(self, spare: float, shorter: float) -> None:
        """Keep the budget, lower it or raise it.

        spare: seconds until this chunk must be ready, margin taken off. shorter: by how much less than usual it plays.
        """
        tuning = self.tuning
        full = self.max_lead() - self.chunk_seconds - tuning.margin_s  # the most `spare` can be
        # A longer lead is there for slow moments; spent on steps it would have to be won back with fewer of them.
        full, spare = min(full, tuning.lead * self.chunk_seconds), min(spare, tuning.lead * self.chunk_seconds)
        recovering = spare - tuning.recover * max(0.0, full - spare)
        # Alone, a session may eat up its own lead. Among others that would be eating up theirs.
        bear = tuning.keep if self.load <= 1.0 else tuning.rise
        keep = min(self._safe(spare), self._quick(1.0 + tuning.quick_slack), self._lasts(spare - shorter, bear))
        if self.budget > keep:
            self.budget = min(keep, self._quick(1.0), self._lasts(recovering - shorter, tuning.fall))
            self._agreeing.clear()
        elif spare >= tuning.rise_lead * full:
            self._rise(self._lasts(spare - shorter, tuning.rise), spare, tuning.rise_gain)
        else:
            self._rise(self._lasts(recovering - shorter, tuning.fall), spare, tuning.rise_early)

    def _rise(self, lasting: int, spare: float, gain: float) -> None:
        """Raise the budget when the last few chunks agree that it can be raised by that much."""
        tuning = self.tuning
        if self._moved:  # where a budget settles should not depend on where the dial came from
            gain = 0.0
        rise = min(self._safe(spare, 1.0 + tuning.rise_slack), self._quick(1.0), lasting)
        if self._clamp(rise) < self.budget + max(1.0, gain * self.budget):
            self._agreeing.clear()
            return
        self._agreeing = [*self._agreeing, rise][-tuning.rise_after :]
        least = min(self._agreeing)
        settled = rise <= least + max(1.0, tuning.rise_gain * least)  # still growing: better one change, a little later
        if len(self._agreeing) == tuning.rise_after and settled:
            self.budget = least
            self._agreeing.clear()

    def _safe(self, spare: float, dearer: float = 1.0) -> int:
        """Most steps whose finish, at the safe quantile, is within `spare` seconds."""
        forecast = self.forecast
        seconds = spare / (forecast.ratio(self.tuning.safe_q) * dearer)
        return _whole((seconds - forecast.fixed("decode")) / forecast.step)

    def _quick(self, slack: float) -> int:
        """Most steps of a chunk that takes no longer than the latency target, three times out of four or better."""
        target = (self.dial.latency_s - DELIVERY_S) * slack / self.forecast.ratio(self.tuning.quick_q)
        return _whole((target - self.forecast.fixed("decode")) / self.forecast.step)

    def _lasts(self, spare: float, chunks: float) -> int:
        """Most steps with which the lead would still be safe after so many chunks."""
        forecast, ratio = self.forecast, self.forecast.ratio(self.tuning.safe_q)
        decode, append = forecast.fixed("decode"), forecast.fixed("append")
        room = spare + chunks * (self.chunk_seconds - decode - append) - ratio * decode
        return _whole(room / (forecast.step * (chunks + ratio)))

    def _still(self, seconds: float) -> int:
        """Most steps that can still run when the chunk must be ready in `seconds`, at what a step costs right now."""
        forecast, costs = self.forecast, self.forecast.costs
        key = forecast.key("step")
        usual, latest = costs.estimate("step", 0.5, key), costs.latest("step", key=key)
        slow = latest / usual if usual > 0.0 and latest > costs.estimate("step", self.tuning.slow_q, key) else 1.0
        free = seconds * (1.0 - self.tuning.guard)
        return _whole((free / slow - forecast.fixed("decode")) / forecast.step)

    def _clamp(self, steps: int) -> int:
        return min(max(steps, self.dial.least), self.dial.most)


def _whole(steps: float) -> int:
    """Round down, within what an int can hold."""
    return int(max(0.0, min(steps, 1e6)))
