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

from stream.video.bitrate import Limits

MUCH_LOSS = 0.10
LITTLE_LOSS = 0.02
FALL = 0.97  # an estimate lower than this times the one before is falling
SHORT = 0.92  # ... and lower than this times what is sent: it does not fit
INFORMED = 10.0  # times what is sent: an estimate above that was a receiver's first guess
BACK_OFF = 0.85  # of what got through, after the receiver has found the network full
GROWTH = 1.06  # a second, while nothing is lost
STRETCH, ENOUGH = 1.0, 12  # seconds and packets over which loss is measured
CUT_PAUSE = 1.0  # seconds between two cuts for loss: the first must have had time to show
HOLD, LONGEST_HOLD = 10.0, 160.0  # seconds below the rate that was too much
BELOW = 0.95  # of that rate
RESEND = 0.35  # of the rate may go to packets that were lost and are sent again
BURST = 16.0  # packets of them at once
OUTAGE = 128.0  # packets of them at once after an outage: all that aiortc keeps
PACKET = 1200  # bytes, about
AGAIN = 0.1  # seconds before the same packet is sent once more
KEYFRAME_REQUESTS = 3  # lost pictures within KEYFRAME_REQUEST_SPAN_S seconds count as a cut
KEYFRAME_REQUEST_SPAN_S = 5.0


class Resends:
    """Which lost packets are sent once more. A viewer whose network is full asks again and again, and what it is sent
    for that would fill it for good."""

    def __init__(self) -> None:
        self._sent: dict[int, float] = {}
        self._budget = BURST
        self._filled_at: float | None = None

    def make_up(self) -> None:
        """After an outage, most of what it lost may be sent at once."""
        self._budget = max(self._budget, OUTAGE)

    def allow(self, sequence: int, rate: float, now: float) -> bool:
        """`rate`: bits per second the viewer may be sent; a share of it goes to packets sent again."""
        since = 0.0 if self._filled_at is None else now - self._filled_at
        self._filled_at = now
        self._budget = max(self._budget, min(BURST, self._budget + since * RESEND * rate / 8 / PACKET))
        if now - self._sent.get(sequence, float("-inf")) < AGAIN or self._budget < 1:
            return False
        if len(self._sent) > 512:
            self._sent = {key: at for key, at in self._sent.items() if now - at < 1.0}
        self._sent[sequence] = now
        self._budget -= 1
        return True


class LossMeter:
    """Receivers in trouble report ten times a second, each time over a handful of packets: only longer stretches say
    anything."""

    def __init__(self) -> None:
        self._since: tuple[float, int, int] | None = None  # time, highest sequence number, packets lost

    def add(self, highest: int, lost: int, now: float) -> float | None:
        """Totals of one report. Share of packets lost over the last second or more; None until there is one."""
        if self._since is None:
            self._since = (now, highest, lost)
            return None
        began, first, before = self._since
        expected = (highest - first) % 2**32
        if now - began < STRETCH or (expected < ENOUGH and now - began < 3 * STRETCH):
            return None
        self._since = (now, highest, lost)
        return min(1.0, max(0, lost - before) / expected) if expected else 0.0


class RateController:
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
        self._keyframe_requests: list[float] = []

    def remb(self, estimate: float, sent: float, now: float) -> None:
        """The receiver's estimate; `sent`: bits per second that left for it lately."""
        before, self._estimate = self._estimate, estimate
        falls = before is not None and estimate < FALL * before < FALL * INFORMED * sent
        if estimate < SHORT * sent and (falls or (self.loss > LITTLE_LOSS and now - self._cut_at >= CUT_PAUSE)):
            self._cut(estimate, sent, now)

    def report(self, loss: float, sent: float, now: float) -> None:
        """`loss`: share of packets lost lately, see LossMeter."""
        self.loss = loss
        if loss > MUCH_LOSS:
            if now - self._cut_at >= CUT_PAUSE:
                self._cut(max(self._known(sent), self._used(sent) * (1 - 0.5 * loss)), sent, now)
        elif loss < LITTLE_LOSS:
            self._grow(now)
            return
        self._grown_at = now

    def lost_picture(self, sent: float, now: float) -> None:
        """It asked for a keyframe. Now and then is nothing; again and again means that too much is sent."""
        self._keyframe_requests = [t for t in self._keyframe_requests if now - t < KEYFRAME_REQUEST_SPAN_S] + [now]
        if len(self._keyframe_requests) >= KEYFRAME_REQUESTS:
            self._keyframe_requests.clear()
            self._cut(max(self._known(sent), BACK_OFF * self._used(sent)), sent, now)

    def _known(self, sent: float) -> float:
        """What the receiver itself thinks it can take, as far as it can know: loss alone is no reason to send less, as
        a short queue on the way loses some of every burst."""
        estimate = self._estimate
        return 0.0 if estimate is None or estimate > INFORMED * sent else BACK_OFF * estimate

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
