"""What the engine knows of the queue of a session: frames in hand, reports that cross, what must be shown."""

from __future__ import annotations

import pytest

from stream.engine.playout_mirror import PlayoutMirror
from stream.engine.protocol import PlayoutReport


def test_frames_in_hand_are_those_of_the_report_and_what_was_sent_since() -> None:
    mirror = PlayoutMirror("s", 16.0)
    mirror.on_sent(0, 1)
    mirror.on_sent(1, 12)
    assert mirror.frames(5.0) == 13
    mirror.on_report(PlayoutReport("s", 1, 0, 5.0, 16.0))  # it had received the first only, and shown it
    assert mirror.frames(5.0) == 12
    mirror.on_report(PlayoutReport("s", 2, 12, 5.0, 16.0))
    assert mirror.frames(5.25) == 8
    assert mirror.rest(5.25) == 8


def test_a_report_that_crosses_a_cut_does_not_bring_the_frames_back() -> None:
    mirror = PlayoutMirror("s", 16.0)
    for chunk in range(3):
        mirror.on_sent(chunk, 12)
    mirror.on_report(PlayoutReport("s", 3, 30, 1.0, 16.0))
    assert mirror.keep(1.0, 2) == (0, 6)
    mirror.drop_from(1)
    assert mirror.frames(1.0) == 6
    mirror.on_report(PlayoutReport("s", 3, 29, 1.0625, 16.0))  # written before the server received the DropFrom
    assert mirror.frames(1.0625) == 5
    mirror.on_report(PlayoutReport("s", 4, 5, 1.0625, 16.0))
    assert mirror.frames(1.0625) == 5
    mirror.on_sent(1, 12)
    assert mirror.frames(1.0625) == 17
    assert mirror.rest(1.0625) == 5


def test_a_chunk_that_replaces_the_queue_is_all_there_is() -> None:
    mirror = PlayoutMirror("s", 16.0)
    for chunk in range(3):
        mirror.on_sent(chunk, 12)
    mirror.on_report(PlayoutReport("s", 3, 30, 1.0, 16.0))
    mirror.on_sent(3, 12, replaces=True)
    assert mirror.frames(1.0) == 12
    mirror.on_report(PlayoutReport("s", 3, 29, 1.0625, 16.0))
    assert mirror.frames(1.0625) == 12


def test_while_held_nothing_leaves() -> None:
    mirror = PlayoutMirror("s", 16.0)
    mirror.on_sent(0, 12)
    mirror.on_report(PlayoutReport("s", 1, 12, 1.0, 16.0))
    mirror.running = False
    assert mirror.frames(60.0) == 12


@pytest.mark.parametrize(
    ("left", "margin", "earliest", "kept"),
    [
        (30, 2, 0, (0, 6)),  # 6 of chunk 0, all of 1 and 2
        (25, 2, 0, (1, 13)),  # one frame of chunk 0 is too little time: chunk 1 stays too
        (30, 2, 1, (1, 18)),  # chunk 1 must stay
        (30, 2, 2, None),
        (12, 2, 0, None),  # only chunk 2 is left, and its first frame is about to be seen
        (10, 2, 0, None),  # it is on screen
    ],
)
def test_what_must_be_shown(left: int, margin: int, earliest: int, kept: tuple[int, float] | None) -> None:
    mirror = PlayoutMirror("s", 16.0)
    for chunk in range(3):
        mirror.on_sent(chunk, 12)
    mirror.on_report(PlayoutReport("s", 3, left, 1.0, 16.0))
    if left == 12:
        kept = (1, 0) if margin == 0 else None
    assert mirror.keep(1.0, margin, earliest) == kept
