"""The score of a session as it grows, and as a document that others can read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from farcast.protocol import ScoreError, parse_score
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.engine.protocol import ChunkMade, ModelFacts, PromptApplied
from stream.governor import Dial
from stream.score.log import MAX_IMAGE_BYTES, Score, to_json

FACTS = ModelFacts("fake", 16, 16, 16.0, 12, weights="abc", threads=1, library="torch 2")
PICTURE = np.full((16, 16, 3), 77, np.uint8)


def opened(text: str, transition: int = 0) -> tuple[PromptApplied, ...]:
    return (PromptApplied(((text, 1.0),), transition),)


def chunk(index: int, sigmas: tuple[float, ...] = (1.0, 0.0), **more: Any) -> ChunkMade:
    frames = np.zeros((12, 16, 16, 3), np.uint8)
    return ChunkMade("s", index, index * 12, frames, sigmas, 0.1, 0.1, 0.5, -0.1, 0.0, 0, 0, crc=index, **more)


def start(chunks: int = 0) -> Score:
    score = Score.opening(FACTS, "first", 7, 1.0, Dial())
    for index in range(chunks):
        score.made(chunk(index, opened=opened("first") if index == 0 else ()))
    return score


def read(score: Score) -> dict[str, Any]:
    """The document, checked as a reader checks it."""
    text = to_json(score.document())
    parse_score(text)
    document: dict[str, Any] = json.loads(text)
    return document


def test_it_grows_with_changes_and_not_with_time() -> None:
    score = start(500)
    assert len(score.entries) == 3
    score.made(chunk(500, (1.0, 0.5, 0.0), opened=opened("second", 2)))
    assert score.entries[-2:] == [
        {"chunk": 500, "prompt": "second", "transition": 2},
        {"chunk": 500, "steps": 2, "sigmas": [1.0, 0.5, 0.0]},
    ]
    document = read(score)
    assert document["chunks"] == len(document["checks"]) == 501
    assert document["made_with"] == {"device": "cpu", "threads": 1, "library": "torch 2"}


def test_a_mix_is_there_in_words_and_in_numbers() -> None:
    score = start(2)
    score.made(chunk(2, opened=(PromptApplied((("a", 0.7), ("b", 0.3)), 0),)))
    assert read(score)["entries"][-1] == {"chunk": 2, "prompt": "0.70 a + 0.30 b", "mix": [["a", 0.7], ["b", 0.3]]}


def test_the_prompt_that_the_first_chunk_shows_is_the_one_that_counts() -> None:
    score = start()
    assert read(score)["entries"][0]["prompt"] == "first"
    score.made(chunk(0, opened=opened("sooner than the first chunk")))
    assert [e["prompt"] for e in score.entries if "prompt" in e] == ["sooner than the first chunk"]


def test_going_back_forgets_what_came_after_and_keeps_how_the_chunk_was_opened() -> None:
    score = start(3)
    score.made(chunk(3, opened=opened("second", 2), shot=PICTURE))
    score.made(chunk(4, (1.0, 0.5, 0.0)))
    score.dial(5, Dial(latency_ms=400))
    score.rewind(3)
    assert score.chunks == len(score.checks) == 3
    score.made(chunk(3, (1.0, 0.5, 0.0), rebuilt="context", opened=opened("third")))
    kinds = [next(k for k in e if k not in ("chunk", "steps")) for e in read(score)["entries"] if e["chunk"] == 3]
    assert kinds == ["prompt", "image", "dial", "rebuilt", "prompt", "sigmas"]
    assert score.entries[-1]["sigmas"] == [1.0, 0.5, 0.0]


def test_a_new_engine_process_opens_the_chunk_anew() -> None:
    score = start(3)
    score.made(chunk(3, opened=opened("second")))
    score.resumed(3)
    assert all(entry["chunk"] < 3 for entry in score.entries)
    score.made(chunk(3, opened=opened("second"), rebuilt="all"))
    assert [e.get("prompt") for e in score.entries if e["chunk"] == 3] == [None, "second"]
    score.resumed(0)
    assert [e["prompt"] for e in read(score)["entries"] if "prompt" in e] == ["first"]
    assert score.chunks == 0


def test_a_chunk_opened_under_the_old_prompt_and_then_under_a_new_one() -> None:
    score = start(1)
    score.made(chunk(1, opened=(None,)))
    score.made(chunk(2, opened=(None, *opened("second", 3))))
    assert [e for e in score.entries if e["chunk"] == 1] == []
    assert [sorted(set(e) - {"chunk"}) for e in score.entries if e["chunk"] == 2] == [
        ["opened"],
        ["prompt", "transition"],
    ]


def test_pictures_and_clips_are_packed_without_loss() -> None:
    clip = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), np.uint8)
    score = Score.opening(FACTS, "first", 7, 1.0, Dial(), None, clip)
    document = parse_score(to_json(score.document()))
    entry = next(e for e in document.entries if e.clip)
    assert entry.frames == 5
    from stream.score.replay import frames_of

    assert np.array_equal(frames_of(entry, 16, 16), clip)


def test_what_is_too_large_ends_the_recording_and_the_score_says_so() -> None:
    score = start(2)
    score._images = MAX_IMAGE_BYTES
    score.made(chunk(2, shot=PICTURE))
    score.made(chunk(3))
    document = read(score)
    assert document["complete"] is False
    assert document["chunks"] == 2, "what is there can still be rendered"


GOOD = {
    "score": 1,
    "model": "m",
    "seed": 1,
    "guidance": 1.0,
    "width": 16,
    "height": 16,
    "fps": 16.0,
    "chunks": 2,
    "entries": [{"chunk": 0, "prompt": "a"}, {"chunk": 0, "steps": 1, "sigmas": [1.0, 0.0]}],
}


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"score": 2}, "newer_score", "Update Farcast"),
        ({"score": "one"}, "invalid_score", "`score`"),
        ({"chunks": -1}, "invalid_score", "`chunks` must be a whole number"),
        ({"entries": []}, "invalid_score", "no prompt at chunk 0"),
        ({"entries": [{"chunk": 0, "prompt": ""}]}, "invalid_score", r"entry 0 \(chunk 0\): a prompt must be text"),
        ({"entries": [{"chunk": 0, "promt": "a"}]}, "invalid_score", "`promt` is not a known field"),
        ({"entries": [{"chunk": 0, "prompt": "a", "image": "x"}]}, "invalid_score", "picture is missing or damaged"),
        ({"entries": [{"chunk": 0, "prompt": "a"}, {"chunk": 1}]}, "invalid_score", "exactly one of"),
        ({"entries": [{"chunk": 3, "prompt": "a"}, {"chunk": 0, "prompt": "b"}]}, "invalid_score", "stand in order"),
        (
            {"entries": [{"chunk": 0, "prompt": "a"}, {"chunk": 0, "sigmas": [1.0, 0.5, 0.7, 0.0]}]},
            "invalid_score",
            "fall from 1 to 0",
        ),
        ({"entries": [{"chunk": 0, "prompt": "a"}, {"chunk": 0, "image": None}]}, "invalid_score", "exactly one of"),
        ({"entries": [{"chunk": 0, "prompt": "a", "mix": [["a", -1]]}]}, "invalid_score", "weight"),
        ({"checks": ["00000000"]}, "invalid_score", "1 `checks` for 2 chunks"),
        ({"seed": None}, "invalid_score", "`seed`"),
        ({"entries": 3}, "invalid_score", "`entries`"),
        ({"guidance": 1e9}, "invalid_score", "`guidance` must be"),
    ],
)
def test_a_score_edited_by_hand_is_refused_with_the_place(change: dict[str, Any], code: str, says: str) -> None:
    parse_score(GOOD)
    with pytest.raises(ScoreError, match=says) as caught:
        parse_score(json.dumps({**GOOD, **change}))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '"score"', b"\xff\xfe", '{"prompt": "x"}', "[" * 100_000]
)
def test_what_is_no_score_is_called_so(text: str | bytes) -> None:
    with pytest.raises(ScoreError) as caught:
        parse_score(text)
    assert caught.value.code == "not_a_score"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [*GOOD, "steps", "sigmas", "prompt", "mix", "chunk", "rebuilt", "transition", "dial", "frames"]
)


@given(st.lists(st.tuples(PLACES, JSON), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_a_hand_does_to_it_the_answer_is_a_sentence(edits: list[tuple[str, Any]]) -> None:
    document = json.loads(json.dumps(GOOD))
    for place, value in edits:
        if place in document:
            document[place] = value
        elif isinstance(document.get("entries"), list):
            entry = {"chunk": 1, "prompt": "b", place: value}
            document["entries"] = [*document["entries"], entry]
    try:
        parse_score(json.dumps(document))
    except ScoreError as error:
        assert error.message[0].isupper()
        assert error.message.endswith((".", "?"))
        assert error.code in ("not_a_score", "newer_score", "invalid_score")
