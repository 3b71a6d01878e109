"""The words a checkpoint knows, and those of a prompt that mean nothing to it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from models.checkpoint.bundle import TINY
from models.checkpoint.vocabulary import MOST_UNKNOWN, Vocabulary
from models.errors import ModelError
from models.toyworld import caption, random_scene, vocabulary_card


@pytest.fixture(scope="module")
def toy() -> Vocabulary:
    known = Vocabulary.from_card(vocabulary_card())
    assert known is not None
    return known


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("a big red star spinning on a navy background", ()),
        ("A BIG Red STAR, spinning -- on a (navy) background!", ()),
        ("Stär, réd", ()),  # the tokenizer drops accents as well
        ("ein roter Stern", ("ein", "roter", "Stern")),
        ("a cat", ("cat",)),
        ("a plus sign that bounces off the walls", ()),
        ("a sign", ("sign",)),  # a part of a phrase is none of the world's words
        ("a dark red backdrop, dark", ("dark",)),
        ("two circles going round in circles", ("two", "circles")),
        ("cat cat Cat", ("cat",)),
        ("a red star \U0001f642", ("\U0001f642",)),
        ("a red star\u200d\ufe0f.", ()),  # marks that are no word
        ("\u8d64\u3044\u661f", ("\u8d64\u3044\u661f",)),
        ("... !?", ()),
    ],
)
def test_words_that_mean_nothing_are_named(toy: Vocabulary, text: str, unknown: tuple[str, ...]) -> None:
    assert toy.unknown(text) == unknown


def test_every_caption_of_the_world_is_known(toy: Vocabulary) -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        text = caption(random_scene(rng), rng)
        assert toy.unknown(text) == (), text


def test_a_long_prompt_names_a_bounded_number_of_words(toy: Vocabulary) -> None:
    assert len(toy.unknown(" ".join(f"w{n}" for n in range(400)))) == MOST_UNKNOWN


def test_the_shipped_card_is_the_worlds(toy: Vocabulary) -> None:
    card = json.loads((TINY / "farcast.json").read_text())
    assert Vocabulary.from_card(card) == toy
    assert {key: card[key] for key in vocabulary_card()} == vocabulary_card()
    assert Vocabulary.from_card(toy.card()) == toy
    assert toy.caption.format(size="big", colour="red", shape="star", motion="spinning", background="navy") == (
        "a big red star spinning on a navy background"
    )


def test_a_model_of_free_text_has_none() -> None:
    assert Vocabulary.from_card({"name": "wan"}) is None


@pytest.mark.parametrize(
    "card",
    [
        {"vocabulary": ["red"]},
        {"vocabulary": {"colour": "red"}},
        {"vocabulary": {"colour": [1]}},
        {"vocabulary": {"colour": ["red"]}, "synonyms": ["x"]},
        {"vocabulary": {"colour": ["red"]}, "caption": 3},
        {"vocabulary": {"colour": ["red"]}, "function_words": "a"},
        {"vocabulary": {"colour": ["red"]}, "caption": "a {colour} {shape}"},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(card: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        Vocabulary.from_card(card)


def test_the_server_process_needs_no_torch_for_it() -> None:
    program = "import sys; import models.checkpoint.vocabulary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
