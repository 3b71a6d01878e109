"""What one viewer's reports say about its network: how many bits a second may be sent to it.

Pure: no sockets, the clock comes in as an argument. Two sources, both plain RTCP:

- REMB (draft-alvestrand-rmcat-remb): the receiver's own estimate, from the delay between packets. It is no cut by
  itself: a receiver cannot know more than about 1.5 times what it is sent, so of a picture that needs few bits it
  reports little. Only an estimate that *falls* below what is being sent, or is below it while packets are lost, says
  that the network is full.
- Receiver reports: over 10 % loss the rate is cut as in Google congestion control (draft-ietf-rmcat-gcc section 6);
  under 2 % it may grow again.

After a cut the rate grows back a little every second, but holds below the rate that was too much for a while, and
longer each time that rate turns out to be too much again: so a bottleneck is probed ever more rarely.
"""

from __future__ import annotations

from dataclasses import dataclass

MUCH_LOSS = 0.10
LITTLE_LOSS = 0.02
FALL = 0.97  # an estimate lower than this times the one before is falling
SHORT = 0.92  # ... and lower than this times what is sent: it does not fit
INFORMED = 10.0  # times what is sent: an estimate above that was a receiver's first guess
BACK_OFF = 0.85  # of what got through, after the receiver has found the network full
GROWTH = 1.06  # a second, while nothing is lost
CUT_PAUSE = 1.0  # seconds between two cuts for loss: the first must have had time to show
HOLD, LONGEST_HOLD = 10.0, 160.0  # seconds below the rate that was too much
BELOW = 0.95  # of that rate
PLEAS = 3  # lost pictures within PLEA_SPAN seconds count as a cut
PLEA_SPAN = 5.0


@dataclass(frozen=True)
class Limits:
    """Bits per second between which an encoding may move."""

    floor: float
    ceiling: float

    def __post_init__(self) -> None:
        assert 0 < self.floor <= self.ceiling

    def clamp(self, rate: float) -> float:
        return min(self.ceiling, max(self.floor, rate))


class Feedback:
    """One viewer. `rate`: what it may be sent; starts at the ceiling, as nothing is known against it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rate = limits.ceiling
        self.loss = 0.0
        self.cuts = 0
        self._estimate: float | None = None  # the last REMB
        self._grown_at: float | None = None
        self._cut_at = float("-inf")
        self._hold_until = float("-inf")
        self._hold = HOLD
        self._too_much: float | None = None  # the rate at the last cut
        self._pleas: list[float] = []

    def remb(self, estimate: float, sent: float, now: float) -> None:
        """The receiver's estimate; `sent`: bits per second that left for it lately."""
        before, self._estimate = self._estimate, estimate
        falls = before is not None and estimate < FALL * before < FALL * INFORMED * sent
        if estimate < SHORT * sent and (falls or (self.loss > LITTLE_LOSS and now - self._cut_at >= CUT_PAUSE)):
            self._cut(estimate, sent, now)

    def report(self, loss: float, sent: float, now: float) -> None:
        """A receiver report: `loss` is the share of packets lost since the one before."""
        self.loss = loss
        if loss > MUCH_LOSS:
            if now - self._cut_at >= CUT_PAUSE:
                self._cut(self._used(sent) * (1 - 0.5 * loss), sent, now)
        elif loss < LITTLE_LOSS:
            self._grow(now)
            return
        self._grown_at = now

    def lost_picture(self, sent: float, now: float) -> None:
        """It asked for a keyframe. Now and then is nothing; again and again means that too much is sent."""
        self._pleas = [t for t in self._pleas if now - t < PLEA_SPAN] + [now]
        if len(self._pleas) >= PLEAS:
            self._pleas.clear()
            self._cut(BACK_OFF * self._used(sent), sent, now)

    def _used(self, sent: float) -> float:
        """What the network has shown not to carry: of a picture that needs little, no more than half the rate."""
        return min(self.rate, max(1.2 * sent, 0.5 * self.rate))

    def _cut(self, to: float, sent: float, now: float) -> None:
        to = self.limits.clamp(to)
        if to >= self.rate:
            return
        if now - self._hold_until < 30.0:  # it grew back and it was too much again
            self._hold = min(LONGEST_HOLD, 2 * self._hold) if now >= self._hold_until else self._hold
        else:
            self._hold = HOLD
        self._too_much = min(self.rate, max(sent, to))
        self._hold_until = now + self._hold
        self.rate, self._cut_at, self._grown_at = to, now, now
        self.cuts += 1

    def _grow(self, now: float) -> None:
        since = 0.0 if self._grown_at is None else min(2.0, now - self._grown_at)
        self._grown_at = now
        grown = self.rate * GROWTH**since
        if self._too_much is not None:
            if now < self._hold_until:
                grown = min(grown, max(self.rate, BELOW * self._too_much))
            elif grown > self._too_much:
                self._too_much = None
        self.rate = self.limits.clamp(grown)
