"""How many bits a viewer may be sent, and who shares an encoding with whom: on a simulated clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.video import bitrate
from stream.video.bitrate import Limits, limits, plan
from stream.video.encoder import default_bitrate
from stream.webrtc.congestion import LossMeter, RateController, Resends
from stream.webrtc.track import Pacer

BOUNDS = Limits(60_000, 1_000_000)


class Network:
    """A bottleneck and a receiver behind it that reports once a second as libwebrtc does."""

    def __init__(self, capacity: float, needs: float = 1e9) -> None:
        self.capacity, self.needs = capacity, needs
        self.controller = RateController(BOUNDS)
        self.now = 0.0
        self.estimate = 300_000.0

    def second(self) -> float:
        """One second of video; returns what was sent."""
        self.now += 1.0
        sent = min(self.needs, self.controller.rate)
        through = min(sent, self.capacity)
        if sent > self.capacity:
            self.estimate = 0.85 * through
        else:
            self.estimate = min(1.08 * self.estimate, max(self.estimate, 1.5 * through + 10_000))
        self.controller.remb(self.estimate, sent, self.now)
        self.controller.report((sent - through) / sent, sent, self.now)
        return sent


def test_a_good_network_is_never_cut_whatever_the_receiver_guesses() -> None:
    network = Network(1e9, needs=40_000)  # a picture that needs little: the receiver cannot know what would fit
    for second in range(120):
        network.needs = 40_000 if second % 20 < 10 else 900_000
        network.second()
    assert network.controller.cuts == 0
    assert network.controller.rate == BOUNDS.ceiling


def test_a_first_guess_is_no_congestion() -> None:
    feedback = RateController(BOUNDS)
    for now, estimate in enumerate((30_000_000, 250_000, 270_000)):
        feedback.remb(estimate, 290_000, float(now))
    assert feedback.cuts == 0


def test_a_bottleneck_is_found_and_mostly_kept_below() -> None:
    network = Network(350_000)
    sent = [network.second() for _ in range(120)]
    settled = sent[10:]
    assert sum(rate > 350_000 for rate in settled) <= 6, "probed now and then"
    assert sum(settled) / len(settled) > 0.75 * 350_000, "and used"


def test_it_grows_back_when_the_network_does() -> None:
    network = Network(200_000)
    for _ in range(20):
        network.second()
    assert network.controller.rate < 200_000
    network.capacity = 1e9
    for _ in range(60):
        network.second()
    assert network.controller.rate == BOUNDS.ceiling


def test_much_loss_cuts_and_a_little_does_not() -> None:
    lossy, fine = RateController(BOUNDS), RateController(BOUNDS)
    for now in range(10):
        lossy.report(0.2, lossy.rate, float(now))
        fine.report(0.05, fine.rate, float(now))
    assert lossy.rate < 0.5 * BOUNDS.ceiling
    assert fine.rate == BOUNDS.ceiling


def test_a_viewer_that_loses_the_picture_all_the_time_gets_less() -> None:
    feedback = RateController(BOUNDS)
    feedback.lost_picture(500_000, 0.0)
    feedback.lost_picture(500_000, 100.0)
    assert feedback.cuts == 0
    for now in (101.0, 102.0):
        feedback.lost_picture(500_000, now)
    assert feedback.cuts == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e7), st.floats(0, 1e7)), max_size=60))
def test_the_rate_stays_within_its_limits(reports: list[tuple[float, float, float]]) -> None:
    feedback = RateController(BOUNDS)
    for now, (loss, estimate, sent) in enumerate(reports):
        feedback.remb(estimate, sent, float(now))
        feedback.report(loss, sent, float(now))
        assert BOUNDS.floor <= feedback.rate <= BOUNDS.ceiling


@given(st.dictionaries(st.integers(0, 9), st.floats(1e3, 2e6), min_size=1), st.booleans(), st.sets(st.integers(0, 9)))
def test_everybody_gets_an_encoding_their_network_carries(
    can: dict[int, float], recorded: bool, low_now: set[int]
) -> None:
    made = plan(can, frozenset(low_now), BOUNDS, recorded=recorded)
    for viewer, rate in can.items():
        given_rate = made.low_rate if viewer in made.low else made.full_rate
        assert given_rate is not None
        assert given_rate <= max(rate, BOUNDS.floor)
    assert (made.low_rate is None) == (not made.low)
    if recorded:
        assert made.full_rate is not None
    else:
        best = max(can, key=lambda viewer: can[viewer])
        assert best not in made.low


def test_a_slow_viewer_does_not_pull_the_others_down() -> None:
    made = plan({"a": 1_000_000, "b": 900_000, "slow": 200_000}, frozenset(), BOUNDS)
    assert (made.low, made.full_rate, made.low_rate) == (frozenset({"slow"}), 900_000, 200_000)


def test_who_was_slow_comes_back_only_when_clearly_well() -> None:
    assert plan({"a": 1e6, "b": 0.7e6}, frozenset(), BOUNDS).low == frozenset()
    assert plan({"a": 1e6, "b": 0.7e6}, frozenset({"b"}), BOUNDS).low == {"b"}


def test_loss_is_measured_over_a_while() -> None:
    meter = LossMeter()
    assert meter.add(1000, 0, 0.0) is None
    assert meter.add(1005, 5, 0.1) is None, "five of five in a tenth of a second say little"
    assert meter.add(1099, 5, 0.9) is None
    assert meter.add(1100, 5, 1.1) == 0.05
    assert meter.add(1101, 5, 2.2) is None, "and one packet says nothing"
    assert meter.add(1104, 4, 4.2) == 0.0, "what came late after all is no loss"
    assert meter.add(5, 4, 6.0) is not None, "the sequence may wrap"


def test_lost_packets_sent_again_do_not_fill_the_network() -> None:
    resends = Resends()
    assert resends.allow(1, 100_000, 0.0)
    assert not resends.allow(1, 100_000, 0.05), "it may be on its way"
    assert resends.allow(1, 100_000, 0.2)
    granted = sum(resends.allow(k, 100_000, k / 1000) for k in range(200, 10_200))
    assert granted * 1200 * 8 / 10 < 0.4 * 100_000 + 20_000


def test_loss_alone_does_not_cut_below_what_the_receiver_can_take() -> None:
    feedback = RateController(BOUNDS)
    for now in range(20):
        feedback.remb(120_000, 110_000, float(now))
        feedback.report(0.3, 110_000, float(now))
    assert feedback.rate == pytest.approx(0.85 * 120_000)


def test_packets_to_a_slow_viewer_leave_one_by_one() -> None:
    pacer = Pacer()
    waits = [pacer.wait(1250, 100_000, 5.0) for _ in range(3)]
    assert waits == [0.0, pytest.approx(0.1), pytest.approx(0.2)]
    assert pacer.wait(1250, 100_000, 9.0) == 0.0


def test_limits_fit_the_frame() -> None:
    for width, height in ((64, 64), (128, 128), (832, 480), (1280, 720), (3840, 2160)):
        bounds = limits(width, height, 16)
        assert bounds.ceiling == default_bitrate(width, height, 16)
        assert 60_000 <= bounds.floor <= 0.35 * bounds.ceiling


def test_an_encoder_is_made_anew_only_where_it_is_worth_a_keyframe() -> None:
    assert not bitrate.worth_rebuilding(300_000, 280_000, 60)
    assert not bitrate.worth_rebuilding(300_000, 340_000, 60)
    assert bitrate.worth_rebuilding(300_000, 200_000, 2)
    assert not bitrate.worth_rebuilding(300_000, 200_000, 0.5)
    assert bitrate.worth_rebuilding(300_000, 400_000, 6)
    assert not bitrate.worth_rebuilding(300_000, 400_000, 3)
