"""Every change is answered exactly once, whatever order the news come in."""

from __future__ import annotations

from typing import Any

import numpy as np
from farcast.protocol import Dial, ServerMessage
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.protocol import ChunkMade, DialTaken, Refused, SetImage, SetPrompt
from stream.session.replies import Replies


class Person:
    def __init__(self) -> None:
        self.received: list[ServerMessage] = []

    def send(self, message: ServerMessage) -> None:
        self.received.append(message)

    def final(self) -> list[str]:
        return [m.re for m in self.received if getattr(m, "re", None) and m.type != "prompt_pending"]  # type: ignore[misc]


def replies() -> tuple[Replies, Person]:
    made, person = Replies(SetPrompt("s", 0, "first")), Person()
    made.clients.add(person)
    return made, person


def chunk(index: int, prompt: int = 0, image: int = 0, sigmas: tuple[float, ...] = (1.0, 0.0)) -> ChunkMade:
    frames = np.zeros((12, 16, 16, 3), np.uint8)
    return ChunkMade("s", index, index * 12, frames, sigmas, 0.1, 0.1, 0.5, -0.1, 0.0, prompt, image)


@given(st.lists(st.sampled_from(["ask", "supersede", "refuse", "show"]), max_size=200))
def test_each_prompt_gets_one_last_word(events: list[str]) -> None:
    made, person = replies()
    asked: list[int] = []
    carried = index = 0
    for event in events:
        if event == "ask":
            serial = made.next_serial()
            asked.append(serial)
            made.wait_prompt(SetPrompt("s", serial, f"prompt {serial}"), f"p{serial}", person)
        elif event == "supersede" and asked:
            made.superseded(asked[-1] - 1)
        elif event == "refuse" and asked:
            made.refused(Refused("s", asked[-1], "invalid", "No."))
        elif event == "show":
            carried, index = max(carried, asked[-1] if asked else 0), index + 1
            made.shown(chunk(index, carried), frame=index * 12, pts=1.0, now=1.0)
    made.over()
    assert sorted(person.final()) == sorted(f"p{serial}" for serial in asked)
    assert len(made.texts) <= 66, "a flood does not fill the memory"


def test_a_later_prompt_on_screen_supersedes_the_earlier_ones() -> None:
    made, person = replies()
    for serial in (1, 2, 3):
        made.wait_prompt(SetPrompt("s", serial, f"prompt {serial}", 0, 5.0), f"p{serial}", person)
    latency = made.shown(chunk(4, prompt=2), frame=37, pts=2.0, now=6.0)
    assert latency == 1.0
    kinds: dict[str, Any] = {m.re: m for m in person.received if m.type in ("prompt_applied", "prompt_rejected")}  # type: ignore[union-attr]
    assert kinds["p1"].code == "superseded"
    assert (kinds["p2"].chunk, kinds["p2"].frame, kinds["p2"].latency_ms) == (4, 37, 1000.0)
    assert "p3" not in kinds
    assert made.on_screen.text == "prompt 2"


def test_all_moves_of_the_dial_are_answered_with_where_it_stands() -> None:
    made, person = replies()
    for serial, steps in ((1, 2), (2, 4), (3, 8)):
        made.wait_dial(serial, Dial(steps=steps), f"d{serial}", 0.0, person)
    assert made.dial_taken(DialTaken("s", 2, 5, 49, 1500.0)) == Dial(steps=4)
    assert [(m.re, m.dial.steps) for m in person.received] == [("d1", 4), ("d2", 4)]  # type: ignore[union-attr]


def test_of_two_pictures_the_older_is_told_that_it_was_replaced() -> None:
    made, person = replies()
    picture = np.zeros((16, 16, 3), np.uint8)
    for serial in (1, 2):
        made.wait_image(SetImage("s", serial, picture))
    made.shown(chunk(3, image=2), frame=25, pts=1.0, now=1.0)
    assert [(m.type, m.re) for m in person.received] == [("error", "image-1"), ("image_applied", "image-2")]  # type: ignore[union-attr]


def test_whoever_left_is_not_written_to() -> None:
    made, person = replies()
    made.wait_prompt(SetPrompt("s", 1, "x"), "p1", person)
    made.clients.discard(person)
    made.over()
    assert [m.type for m in person.received] == ["prompt_pending"]
