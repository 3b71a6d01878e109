"""The directory's state machine: leases, reservations, dead workers, sessions that are placed again."""

from __future__ import annotations

from random import Random

import pytest

from stream.fleet.directory import RESERVED_S, Directory, Fenced, Report
from stream.fleet.placement import LEASE_S, NoPlace, PlaceRequest, WorkerView

ANY = PlaceRequest()


def report(**sessions: int) -> Report:
    return Report(0.1 * len(sessions), 0.1, 0.05, sessions, 8, True, False, True, "m", "w")


def started(*workers: str, at: float = 0.0) -> tuple[Directory, dict[str, int]]:
    directory, leases = Directory(Random(1)), {}
    for worker in workers:
        leases[worker] = directory.register(worker, f"http://{worker}", "m", "w", at)
        directory.heartbeat(worker, leases[worker], report(), at)
    return directory, leases


def asked(directory: Directory, now: float) -> tuple[str, list[WorkerView]]:
    found = directory.candidates(ANY, now)
    assert not isinstance(found, NoPlace), found
    return found


def test_creations_at_the_same_time_do_not_all_go_to_one_worker() -> None:
    directory, _ = started("a", "b", "c")
    first = [asked(directory, 0.1)[1][0].id for _ in range(6)]
    assert sorted(first) == ["a", "a", "b", "b", "c", "c"], "what is asked for is reserved, before any heartbeat"


def test_a_reservation_ends_with_the_session_in_a_heartbeat_or_with_time() -> None:
    directory, leases = started("a")
    ticket, _ = asked(directory, 0.0)
    directory.placed(ticket, "a", "s", ANY, 0.1)
    assert directory.views[0].sessions == 1
    directory.heartbeat("a", leases["a"], report(), 0.2)
    assert directory.views[0].sessions == 1, "its heartbeat may be older than the session"
    directory.heartbeat("a", leases["a"], report(s=0), 0.3)
    assert directory.views[0].sessions == 1
    asked(directory, 0.4)
    directory.heartbeat("a", leases["a"], report(s=0), 0.5 + RESERVED_S)
    assert directory.views[0].sessions == 1, "a gateway that died with its ticket"


def test_a_lease_that_is_over_is_refused() -> None:
    directory, leases = started("a")
    newer = directory.register("a", "http://a2", "m", "w", 1.0)
    assert newer > leases["a"]
    with pytest.raises(Fenced):
        directory.heartbeat("a", leases["a"], report(), 1.1)
    with pytest.raises(Fenced):
        Directory().heartbeat("a", newer, report(), 1.1)


def test_sessions_of_a_silent_worker_are_placed_again() -> None:
    directory, leases = started("a", "b")
    directory.heartbeat("a", leases["a"], report(s=0, t=3), 0.1)
    late = 0.2 + LEASE_S
    directory.heartbeat("b", leases["b"], report(), late)
    assert directory.expire(late) == ["a"]
    assert directory.where("s") == "moving"
    orphans = directory.orphans(late)
    assert {(one.session, one.epoch) for one in orphans} == {("s", 0), ("t", 3)}
    assert all(one.asked[0].id == "b" for one in orphans)
    directory.adopted("s", "b", 1, late)
    found = directory.where("s")
    assert isinstance(found, WorkerView)
    assert found.id == "b"


def test_an_old_owner_does_not_get_its_session_back() -> None:
    directory, leases = started("a", "b")
    directory.heartbeat("b", leases["b"], report(s=1), 0.1)
    directory.heartbeat("a", leases["a"], report(s=0), 0.2)  # it has not noticed yet
    found = directory.where("s")
    assert isinstance(found, WorkerView)
    assert found.id == "b"


def test_a_drained_worker_gets_nothing_and_a_session_that_ended_is_forgotten() -> None:
    directory, leases = started("a", "b")
    directory.heartbeat("a", leases["a"], report(s=0), 0.1)
    directory.draining("a")
    assert [view.id for view in asked(directory, 0.2)[1]] == ["b"]
    directory.heartbeat("b", leases["b"], report(t=0), 0.3)
    directory.heartbeat("b", leases["b"], report(), 0.4 + RESERVED_S)
    assert directory.where("t") is None
    with pytest.raises(KeyError):
        directory.draining("nobody")


def test_a_new_directory_learns_all_from_heartbeats() -> None:
    directory = Directory()
    epoch = directory.register("a", "http://a", "m", "w", 0.0, least_epoch=7)
    assert epoch == 8, "above the lease that the worker had"
    directory.heartbeat("a", epoch, report(s=2), 0.1)
    directory.found("s", 2, 0.2)
    directory.found("u", 0, 0.2)
    assert directory.moving == ["u"], "only what no worker runs waits"
