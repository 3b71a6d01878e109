"""The wire's types: what is taken, what is refused, and the words of each refusal."""

from __future__ import annotations

import json
import math

import pytest
from farcast import protocol
from farcast.protocol import Dial, ProtocolError, parse_client, parse_request, parse_server, refusal
from hypothesis import given
from hypothesis import strategies as st


def client(**fields: object) -> str:
    return json.dumps({"id": "a", **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[1]", "JSON object"),
        ("[" * 60_000, "not valid JSON"),
        ("x" * 70_000, "64 KiB"),
        ("{}", "Unknown message type null"),
        (client(type="nonsense"), "Unknown message type 'nonsense'"),
        ('{"type": "pause"}', "`id` is missing"),
        ('{"type": "pause", "id": ""}', "1 to 64"),
        ('{"type": "pause", "id": 3}', "1 to 64"),
        (client(type="pause", more=1), "`more` is not a known field"),
        (client(type="prompt"), "`text` is missing"),
        (client(type="prompt", text=3), "must be text, not int"),
        (client(type="prompt", text=" \t"), "prompt is empty"),
        (client(type="prompt", text="x" * 2001), "2001 characters; the most is 2000"),
        (client(type="prompt", text="a\x07b"), "control characters"),
        (client(type="prompt", text="x", transition=-1), "from 0 to 32"),
        (client(type="prompt", text="x", transition=True), "whole number"),
        ('{"type": "dial", "id": "a", "latency_ms": NaN}', "not valid JSON"),
        ('{"type": "dial", "id": "a", "latency_ms": 1e999}', "got inf"),
        (client(type="dial", latency_ms=-1), "from 200 to 30000 milliseconds; got -1"),
        (client(type="dial", latency_ms=0), "got 0"),
        (client(type="dial", latency_ms=365 * 86_400_000), "from 200 to 30000"),
        (client(type="dial", latency_ms="fast"), "must be a number"),
        (client(type="dial", floor=9, ceiling=3), "`floor` \\(9\\) is above `ceiling` \\(3\\)"),
        (client(type="dial", steps=51), "from 1 to 50"),
        (client(type="dial", steps=2.5), "whole number"),
        (client(type="rewind", chunk=-1), "`chunk`"),
        (client(type="ping", t="now"), "`t` must be a number"),
    ],
)
def test_refused_with_words(text: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        parse_client(text)


def test_the_answer_names_the_message() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_client(client(type="prompt", text="x" * 2001))
    answer = refusal(caught.value)
    assert isinstance(answer, protocol.PromptRejected)
    assert (answer.re, answer.code, len(answer.text)) == ("a", "invalid", 2000)
    with pytest.raises(ProtocolError) as caught:
        parse_client('{"type": "prompt", "id": "k", "text": "\\ud800"}')
    json.loads(refusal(caught.value).dump())
    with pytest.raises(ProtocolError) as caught:
        parse_client(client(type="dial", floor=0))
    answer = refusal(caught.value)
    assert isinstance(answer, protocol.Error)
    assert (answer.re, answer.fatal) == ("a", False)


def test_prompts_are_trimmed_and_keep_their_script() -> None:
    message = parse_client(client(type="prompt", text="  ein großer roter Kreis 🔴 {x}\n"))
    assert isinstance(message, protocol.Prompt)
    assert message.text == "ein großer roter Kreis 🔴 {x}"


def test_steps_null_differs_from_no_steps() -> None:
    fixed = Dial(steps=4)
    freed, left = parse_client(client(type="dial", steps=None)), parse_client(client(type="dial", latency_ms=300))
    assert isinstance(freed, protocol.SetDial)
    assert isinstance(left, protocol.SetDial)
    assert freed.merged(fixed).steps is None
    assert left.merged(fixed) == Dial(latency_ms=300, steps=4)
    assert parse_client(freed.dump()) == freed
    assert "steps" in json.loads(freed.dump())
    assert "steps" not in json.loads(left.dump())


def test_a_session_request() -> None:
    request = parse_request('{"prompt": " a red circle ", "dial": {"latency_ms": 500}}')
    assert request.prompt == "a red circle"
    assert request.dial == Dial(latency_ms=500)
    for text, message in [
        ("{}", "`prompt` is missing"),
        ('{"prompt": "x", "seed": -1}', "`seed`"),
        ('{"prompt": "x", "seed": 1e300}', "`seed`"),
        ('{"prompt": "x", "guidance": 0}', "`guidance`"),
        ('{"prompt": "x", "dial": {"floor": 5, "ceiling": 2}}', "above"),
        ('{"prompt": "x", "dial": 3}', "dial"),
        ('{"prompt": "x", "model": "m"}', "not a known field"),
    ]:
        with pytest.raises(ProtocolError, match=message):
            parse_request(text)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.mark.slow
@given(anything, st.sampled_from(["prompt", "dial", "pause", "rewind", "ping", 3]))
def test_no_message_does_anything_but_parse_or_be_refused(value: object, kind: object) -> None:
    for text in (
        json.dumps(value),
        json.dumps({"type": kind, "id": "a", "text": value, "latency_ms": value, "t": value}),
    ):
        try:
            message = parse_client(text)
        except ProtocolError as error:
            assert error.message
            json.loads(refusal(error).dump())
        else:
            assert parse_client(message.dump()) == message


@given(latency=st.floats(), floor=st.integers(-5, 60), ceiling=st.integers(-5, 60))
def test_a_dial_that_is_taken_is_a_possible_one(latency: float, floor: int, ceiling: int) -> None:
    try:
        dial = Dial(latency_ms=latency, floor=floor, ceiling=ceiling)
    except ValueError:
        return
    assert math.isfinite(dial.latency_ms)
    assert 200 <= dial.latency_ms <= 30_000
    assert 1 <= dial.floor <= dial.ceiling <= 50


@given(
    st.builds(Dial, floor=st.integers(1, 10), ceiling=st.integers(10, 50)),
    st.one_of(st.none(), st.integers(1, 50)),
    st.one_of(st.none(), st.integers(1, 50)),
)
def test_moves_of_the_dial_never_cross_its_bounds(dial: Dial, floor: int | None, ceiling: int | None) -> None:
    if floor is not None and ceiling is not None and floor > ceiling:
        return
    moved = protocol.DialChange(floor=floor, ceiling=ceiling).merged(dial)
    assert moved.floor <= moved.ceiling
    assert floor is None or moved.floor == floor
    assert ceiling is None or moved.ceiling == ceiling


def test_a_newer_server_is_understood() -> None:
    message = parse_server('{"type": "pong", "re": "a", "t": 1, "colour": "new"}')
    assert isinstance(message, protocol.Pong)
    with pytest.raises(ProtocolError, match="cannot read"):
        parse_server('{"type": "chunk"}')
