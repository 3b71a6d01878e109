"""Placement: who is asked, in which order, and what an answer means."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.fleet.placement import (
    ALL_BELOW,
    LEASE_S,
    PlaceRequest,
    WorkerView,
    after,
    candidates,
    health,
    no_place_after,
    order,
    outcome,
    why_not,
)
from stream.governor.scheduling import CAPACITY

NOW = 100.0

workers = st.builds(
    WorkerView,
    id=st.uuids().map(str),
    url=st.just("http://127.0.0.1:1"),
    model=st.sampled_from(("a", "b")),
    weights=st.sampled_from(("1", "2")),
    load=st.floats(0, 1),
    session_load=st.none() | st.floats(0.01, 0.5),
    memory_free=st.none() | st.integers(0, 100),
    sessions=st.integers(0, 5),
    max_sessions=st.integers(1, 5),
    ready=st.booleans(),
    draining=st.booleans(),
    seen_at=st.floats(NOW - 2 * LEASE_S, NOW),
)
requests = st.builds(
    PlaceRequest,
    model=st.sampled_from((None, "a", "b")),
    weights=st.sampled_from((None, "1")),
    floor=st.integers(1, 8),
    memory=st.integers(0, 100),
)


@given(st.lists(workers, max_size=60), requests, st.integers(0, 9), st.integers(1, 4))
def test_only_workers_that_can_take_it_are_asked(
    view: list[WorkerView], request: PlaceRequest, seed: int, k: int
) -> None:
    asked = candidates(view, request, Random(seed), k, now=NOW)
    assert len(asked) <= k
    assert len({worker.id for worker in asked}) == len(asked)
    for worker in asked:
        assert request.model in (None, worker.model)
        assert not worker.draining
        assert worker.ready
        assert NOW - worker.seen_at <= LEASE_S
        assert worker.sessions < worker.max_sessions
        assert not worker.sessions or after(worker, request) <= CAPACITY
    ranks = [order(worker, request) for worker in asked]
    assert ranks == sorted(ranks)


@given(st.lists(workers, max_size=60), requests, st.integers(0, 9))
def test_empty_means_that_there_is_no_place_at_all(view: list[WorkerView], request: PlaceRequest, seed: int) -> None:
    asked = candidates(view, request, Random(seed), now=NOW)
    able = [worker for worker in view if health(worker, request, NOW) == "ok"]
    assert bool(asked) == bool(able)
    if len(view) <= ALL_BELOW and able:
        assert order(asked[0], request) == min(order(worker, request) for worker in able)


@given(st.lists(workers, max_size=30), requests)
def test_full_is_said_only_where_a_worker_that_answers_is_full(view: list[WorkerView], request: PlaceRequest) -> None:
    if candidates(view, request, Random(0), now=NOW):
        return
    states = {health(worker, request, NOW) for worker in view}
    assert (why_not(view, request, NOW).code == "full") == ("full" in states)
    silent = [replace(worker, seen_at=NOW - 2 * LEASE_S) for worker in view]
    assert why_not(silent, request, NOW).code in ("no_worker", "no_model")


def test_one_of_many_free_workers_is_found() -> None:
    full = [WorkerView(str(n), "", "a", "1", load=0.9, session_load=0.1, sessions=4, seen_at=NOW) for n in range(500)]
    view = [*full, WorkerView("free", "", "a", "1", seen_at=NOW)]
    assert [worker.id for worker in candidates(view, PlaceRequest(), Random(3), now=NOW)] == ["free"]


def test_thirty_sessions_over_three_workers_are_even() -> None:
    rng, view = Random(1), [WorkerView(n, "", "a", "1", session_load=0.02, max_sessions=20, seen_at=NOW) for n in "abc"]
    for _ in range(30):
        first = candidates(view, PlaceRequest(), rng, now=NOW)[0]
        at = view.index(first)
        view[at] = replace(first, load=first.load + 0.02, sessions=first.sessions + 1)
    assert [worker.sessions for worker in view] == [10, 10, 10]


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        (201, "", "placed"),
        (503, "full", "full"),
        (503, "loading", "full"),
        (503, "draining", "full"),
        (503, "engine_failed", "sick"),
        (500, "internal", "sick"),
        (None, "", "sick"),
        (400, "invalid", "refused"),
        (429, "too_many", "refused"),
        (401, "no_key", "refused"),
    ],
)
def test_what_an_answer_means(status: int | None, code: str, means: str) -> None:
    assert outcome(status, code) == means


def test_a_fleet_of_which_one_is_sick_and_one_full_is_full() -> None:
    assert no_place_after(["sick", "full"]).code == "full"
    assert no_place_after(["sick", "sick"]).code == "no_worker"
