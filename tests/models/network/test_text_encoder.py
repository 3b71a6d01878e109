from __future__ import annotations

import pytest
import torch

from bench.engine.reference import pipeline
from models.checkpoint.bundle import Bundle
from models.errors import PromptError
from models.network.text_encoder import blend, check_prompt
from models.rollout.prompt_state import PromptState


def test_embeddings_are_the_reference_ones_without_their_padding(bundle: Bundle) -> None:
    text = "  a  big &amp; red\n star "
    ours = bundle.prompts.encode(text)
    theirs, _ = pipeline(bundle).encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=512)
    torch.testing.assert_close(ours, theirs[0, : len(ours)], atol=1e-5, rtol=1e-4)
    assert theirs[0, len(ours) :].abs().max() == 0


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ([], "empty"),
        ("x" * 4001, "4001 characters"),
        ("\ud800", "Unicode"),
        (7, "got"),
        ([("a star", -1.0)], "at least 0"),
        ([("a star", float("nan"))], "at least 0"),
        ([("a star", 0.0)], "all prompt weights"),
        ([("a star",)], "pairs"),
    ],
)
def test_bad_prompts_say_what_is_wrong(prompt: object, word: str) -> None:
    with pytest.raises(PromptError, match=word):
        check_prompt([prompt] if isinstance(prompt, int) else prompt)  # type: ignore[arg-type, list-item]


def test_a_prompt_of_too_many_tokens_is_refused(bundle: Bundle) -> None:
    with pytest.raises(PromptError, match="at most 512"):
        bundle.prompts.encode("z q " * 600)


def test_blends_reach_both_ends_and_pad_the_shorter() -> None:
    a, b = torch.randn(4, 8), torch.randn(6, 8)
    for kind in ("linear", "slerp"):
        assert torch.equal(blend([(a, 1.0), (b, 0.0)], kind), a)
        middle = blend([(a, 1.0), (b, 1.0)], kind)
        assert middle.shape == (6, 8)
        torch.testing.assert_close(middle[5], b[5] / 2)  # against padding there is nothing to turn towards
    torch.testing.assert_close(blend([(a, 1.0), (b, 3.0)])[:4], a * 0.25 + b[:4] * 0.75)
    three = blend([(a, 1.0), (a, 2.0), (b, 1.0)])
    torch.testing.assert_close(three[:4], a * 0.75 + b[:4] * 0.25)


def test_slerp_keeps_the_length_that_linear_loses() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(blend([(a, 1.0), (b, 1.0)], "slerp").norm(), torch.tensor(1.0))
    assert blend([(a, 1.0), (b, 1.0)]).norm() < 0.8


def test_a_transition_takes_its_chunks_and_then_is_over(bundle: Bundle) -> None:
    encoder = bundle.prompts
    start, end = encoder.encode("a red star"), encoder.encode("a blue moon")
    prompt = PromptState().request("a red star").apply(encoder)
    assert not prompt.due
    prompt = prompt.request("a blue moon", transition=2)
    seen = []
    while prompt.due:
        prompt = prompt.apply(encoder)
        seen.append(prompt.embedding)
    assert len(seen) == 3
    torch.testing.assert_close(seen[0], blend([(start, 2.0), (end, 1.0)]))
    torch.testing.assert_close(seen[1], blend([(start, 1.0), (end, 2.0)]))
    torch.testing.assert_close(seen[2], end)
    with pytest.raises(PromptError, match="transition is 65"):
        prompt.request("a star", transition=65)
    with pytest.raises(PromptError, match="linear or slerp"):
        prompt.request("a star", kind="cubic")  # type: ignore[arg-type]
