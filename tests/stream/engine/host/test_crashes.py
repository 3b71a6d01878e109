"""Which deaths of the engine count against a session, and when they are too many."""

from __future__ import annotations

import signal

from stream.engine.host.crashes import CrashLog, cause_of


def test_the_cause_is_read_from_the_exit_code() -> None:
    assert cause_of(-signal.SIGKILL, hung=False, load_failed=False) == "killed"
    assert cause_of(-signal.SIGTERM, hung=False, load_failed=False) == "killed"
    assert cause_of(-signal.SIGSEGV, hung=False, load_failed=False) == "fault"
    assert cause_of(3, hung=False, load_failed=False) == "fault"
    assert cause_of(-signal.SIGKILL, hung=True, load_failed=False) == "hung"
    assert cause_of(0, hung=False, load_failed=True) == "load"


def test_three_faults_in_a_row_in_one_sessions_work_are_its_own() -> None:
    log = CrashLog()
    assert [log.died(60.0 * i, "fault", "a", was_ready=True) for i in range(3)] == ["", "", "a"]
    assert log.died(200.0, "fault", "a", was_ready=True) == ""  # counted anew


def test_faults_in_others_work_between_them_acquit() -> None:
    log = CrashLog()
    sessions = ["a", "a", "b", "a", "a", "", "a", "a"]
    assert [log.died(70.0 * i, "fault", s, was_ready=True) for i, s in enumerate(sessions)] == [""] * 8


def test_kills_from_outside_accuse_nobody_and_old_faults_are_forgotten() -> None:
    log = CrashLog()
    assert [log.died(100.0 * i, "killed", "a", was_ready=True) for i in range(10)] == [""] * 10
    assert [log.died(2000.0 + 400.0 * i, "fault", "a", was_ready=True) for i in range(6)] == [""] * 6


def test_five_deaths_in_a_minute_or_without_a_model_are_hopeless() -> None:
    log = CrashLog()
    for i in range(5):
        assert not log.hopeless
        log.died(10.0 * i, "killed", "", was_ready=True)
    assert log.hopeless
    slow = CrashLog()
    for i in range(5):
        assert not slow.hopeless
        slow.died(100.0 * i, "load", "", was_ready=False)
    assert slow.hopeless
    fine = CrashLog()
    for i in range(20):
        fine.died(100.0 * i, "fault", f"{i}", was_ready=True)
        fine.ready()
    assert not fine.hopeless
