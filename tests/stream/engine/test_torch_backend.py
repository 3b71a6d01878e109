"""The engine's slot over the real model at its smallest size: budgets, turns, pictures, and going on elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="the server's packages are not installed")

from models.checkpoint.random_weights import random_bundle
from models.errors import PromptError
from models.rollout.snapshot_bytes import pack, unpack
from stream.engine.protocol import ChunkMade, Open, PlayoutReport, SetImage, SetPrompt
from stream.engine.slot import Slot
from stream.engine.torch_backend import TorchModel
from stream.governor import CostModel, Dial


@pytest.fixture(scope="module")
def model() -> TorchModel:
    return TorchModel(random_bundle("tiny"))


def slot(model: TorchModel, request: Open) -> Slot:
    ticks = itertools.count()
    rollout = model.load(request.snapshot) if request.snapshot else model.open(request)
    return Slot(request, rollout, model.facts, CostModel(), max_lead=6.0, clock=lambda: next(ticks) * 1e-3)


def chunk(s: Slot) -> ChunkMade:
    """Run until the next chunk is made and remembered."""
    made = None
    while True:
        kind = s.rollout.next().kind
        made = next((e for e in s.run() if isinstance(e, ChunkMade)), made)
        if kind == "append":
            assert made is not None
            s.mirror.on_report(PlayoutReport(s.session, s.mirror.sent, 0, 0.0, 16.0))
            return made


def opening(**more: object) -> Open:
    return Open("s", "a red circle", 3, Dial(steps=2), **more)  # type: ignore[arg-type]


@pytest.mark.slow
def test_chunks_of_one_and_then_twelve_frames_with_the_budget_asked_for(model: TorchModel) -> None:
    s = slot(model, opening())
    first, second = chunk(s), chunk(s)
    assert first.frames.shape == (1, model.facts.height, model.facts.width, 3)
    assert second.frames.shape[0] == model.facts.chunk_frames == 12
    assert (first.frame, second.frame) == (0, 1)
    assert second.steps == 2
    assert second.sigmas[0] == 1.0
    assert second.sigmas[-1] == 0.0


@pytest.mark.slow
def test_a_prompt_is_carried_by_the_next_chunk(model: TorchModel) -> None:
    s = slot(model, opening())
    chunk(s)
    s.set_prompt(SetPrompt("s", 5, "a blue star"))
    assert chunk(s).prompt_serial == 5


def test_a_prompt_that_cannot_be_is_refused_with_words(model: TorchModel) -> None:
    with pytest.raises(PromptError):
        model.open(Open("s", "", 0, Dial()))


def test_a_prompt_of_too_many_tokens_is_refused_where_it_is_taken(model: TorchModel) -> None:
    s = slot(model, opening())
    chunk(s)
    for text in ("\U0001f600 " * 900, "a ba " * 400):
        with pytest.raises(PromptError, match="tokens"):
            s.set_prompt(SetPrompt("s", 6, text))
        with pytest.raises(PromptError, match="tokens"):
            model.open(Open("s", text, 0, Dial()))
    assert chunk(s).prompt_serial == 0


def test_errors_of_memory_are_known_by_type_or_words(model: TorchModel) -> None:
    import torch

    assert model.out_of_memory(MemoryError())
    assert model.out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert model.out_of_memory(RuntimeError("could not create a primitive"))
    assert not model.out_of_memory(RuntimeError("shapes do not match"))
    model.free_memory()


def test_a_picture_begins_a_new_shot(model: TorchModel) -> None:
    s = slot(model, opening())
    chunk(s)
    s.set_image(SetImage("s", 4, np.full((model.facts.height, model.facts.width, 3), 200, np.uint8)))
    made = chunk(s)
    assert made.image_serial == 4
    assert len(made.frames) == 1


@pytest.mark.slow
def test_a_snapshot_goes_on_as_if_nothing_had_happened(model: TorchModel) -> None:
    s = slot(model, opening())
    chunk(s)
    chunk(s)
    blob = model.save(s.rollout)
    assert blob is not None
    other = slot(model, opening(snapshot=blob))
    here, there = chunk(s), chunk(other)
    assert (here.chunk, here.frame) == (there.chunk, there.frame) == (2, 13)
    assert np.abs(here.frames.astype(int) - there.frames.astype(int)).max() <= 2


def test_snapshots_travel_as_safetensors(model: TorchModel) -> None:
    import torch

    packed = pack({"a": torch.arange(3), "n": 4, "t": "text", "l": [1, None]})
    back = unpack(packed)
    assert back["n"] == 4
    assert back["l"] == [1, None]
    assert torch.equal(back["a"], torch.arange(3))  # type: ignore[arg-type]
