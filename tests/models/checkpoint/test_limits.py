"""Step count and guidance of a checkpoint's card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.checkpoint.bundle import open_bundle, save_bundle
from models.checkpoint.limits import read_limits
from models.checkpoint.vocabulary import Vocabulary
from models.errors import ModelError
from models.toyworld import vocabulary_card
from tests.support.small_bundle import small_bundle


def test_a_card_that_says_nothing_limits_nothing() -> None:
    assert read_limits({}) == {"steps": None, "guidance_range": None, "vocabulary": None}


@pytest.mark.parametrize(
    "card",
    [
        {"steps": 0},
        {"steps": 51},
        {"steps": True},
        {"steps": "4"},
        {"guidance_range": [2.0, 1.0]},
        {"guidance_range": [0.5, 2.0]},
        {"guidance_range": [1.0]},
        {"guidance_range": 2.0},
        {"guidance_range": ["1", "2"]},
    ],
)
def test_a_limit_that_makes_no_sense_is_named(card: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=next(iter(card))):
        read_limits(card)


def test_limits_are_saved_and_opened_again(tmp_path: Path) -> None:
    known = Vocabulary.from_card(vocabulary_card())
    save_bundle(replace(small_bundle(), steps=4, guidance_range=(1.0, 1.5), vocabulary=known), tmp_path)
    opened = open_bundle(tmp_path, device="cpu")
    assert (opened.steps, opened.guidance_range, opened.vocabulary) == (4, (1.0, 1.5), known)
    card = json.loads((tmp_path / "farcast.json").read_text())
    (tmp_path / "farcast.json").write_text(json.dumps(card | {"steps": 99}))
    with pytest.raises(ModelError, match="farcast.json cannot be used: its steps is 99"):
        open_bundle(tmp_path, device="cpu")
