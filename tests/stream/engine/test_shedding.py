"""Who is given up when memory runs out."""

from __future__ import annotations

from stream.engine.protocol import Evicted, SessionLost
from stream.engine.shedding import AGAIN_S, Shedding


def shedding(*sessions: str) -> Shedding:
    made = Shedding()
    for session in sessions:
        made.opened(session)
    return made


def outcome(events: list[SessionLost | Evicted]) -> list[tuple[str, str]]:
    return [(type(event).__name__, event.session) for event in events]


def test_at_first_nobody_is_ended() -> None:
    made = shedding("a", "b", "c")
    assert outcome(made.on_out_of_memory(0.0, "a", ["a", "b", "c"], ["c"])) == [("Evicted", "a")]
    assert outcome(made.on_out_of_memory(2 * AGAIN_S, "b", ["a", "b", "c"], [])) == [("Evicted", "b")]


def test_then_the_newest_paused_one_and_then_the_newest_of_all() -> None:
    made = shedding("a", "b", "c", "d")
    made.on_out_of_memory(0.0, "a", ["a", "b", "c", "d"], [])
    assert outcome(made.on_out_of_memory(1.0, "a", ["b", "c", "d"], ["b", "c"])) == [
        ("SessionLost", "c"),
        ("Evicted", "a"),
    ]
    made.forget("c")
    made.opened("a")  # again: it keeps its place
    assert outcome(made.on_out_of_memory(2.0, "a", ["b", "d", "a"], [])) == [("SessionLost", "d"), ("Evicted", "a")]
    made.forget("d")
    assert outcome(made.on_out_of_memory(3.0, "b", ["a", "b"], [])) == [("SessionLost", "b")]


def test_alone_the_session_ends_in_the_end() -> None:
    made = shedding("a")
    assert outcome(made.on_out_of_memory(0.0, "a", ["a"], [])) == [("Evicted", "a")]
    assert outcome(made.on_out_of_memory(1.0, "a", ["a"], [])) == [("SessionLost", "a")]


def test_a_session_that_was_never_open_is_not_let_in() -> None:
    events = shedding("a").on_out_of_memory(0.0, "new", ["a"], [])
    assert outcome(events) == [("SessionLost", "new")]
    assert events[0].code == "out_of_memory"
