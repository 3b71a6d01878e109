"""A family that is one entry and one file: opened from a folder, run, and equal to diffusers' own forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.checkpoint import families
from models.checkpoint.bundle import Bundle, open_bundle, save_bundle
from models.errors import ModelError, RequestError
from models.network.transformer import TEXT_POSITIONS
from models.rollout import snapshot
from models.rollout.flowmap import schedule_for
from models.rollout.generate import generate
from models.rollout.noise import chunk_noise
from models.rollout.rollout import Rollout
from tests.support.fixed_steps_family import FAMILY, fixed_steps_bundle
from tests.support.reference import relative_error

PROMPT = "a red star"


@pytest.fixture
def fixed() -> Iterator[Bundle]:
    before = dict(families.FAMILIES)
    yield fixed_steps_bundle()
    families.FAMILIES.clear()
    families.FAMILIES.update(before)


def test_the_first_chunk_is_what_diffusers_transformer_and_renoising_give(fixed: Bundle) -> None:
    """The first chunk has no context, so the causal model is the plain one over its three frames."""
    rollout = Rollout(fixed, prompt=PROMPT, seed=3)
    sigmas = schedule_for(fixed)
    assert sigmas == pytest.approx([1.0, 0.9375, 5 / 6, 0.625, 0.0])
    levels = iter(sigmas[1:])
    while (unit := rollout.next()).kind != "decode":
        rollout.run(unit, r=next(levels) if unit.kind == "step" else None)

    text = fixed.prompts.encode(PROMPT)
    text = F.pad(text, (0, 0, 0, TEXT_POSITIONS - len(text)))[None]
    shape = (3, *fixed.latent_shape)
    z = chunk_noise(3, 0, shape)[None]
    for draw, (t, r) in enumerate(pairwise(sigmas), start=1):
        time = torch.tensor([t * 1000.0])
        velocity = fixed.transformer(z.transpose(1, 2), time, text, return_dict=False)[0].transpose(1, 2)
        clean = z - t * velocity
        z = clean if r == 0 else (1 - r) * clean + r * chunk_noise(3, 0, shape, draw)[None]
    assert rollout.latents is not None
    assert rollout.latents.shape == (1, 3, *fixed.latent_shape)
    assert relative_error(rollout.latents, z) < 1e-4


def test_it_is_opened_from_a_folder_and_runs_without_end(fixed: Bundle, tmp_path: Path) -> None:
    save_bundle(fixed, tmp_path)
    opened = open_bundle(tmp_path, device="cpu")
    assert (opened.family, opened.streams, opened.sampler) == (FAMILY, True, "renoise")
    rollout = Rollout(opened, prompt=PROMPT, seed=3)
    made = [rollout.next_chunk(opened.fixed_sigmas) for _ in range(9)]
    assert [len(frames) for frames in made] == [9, *[12] * 8]
    again = Rollout(fixed, prompt=PROMPT, seed=3).next_chunk(fixed.fixed_sigmas)
    assert np.abs(again.astype(int) - made[0].astype(int)).max() <= 1
    twin = snapshot.load(opened, snapshot.save(rollout.state, full=True))
    assert np.array_equal(rollout.next_chunk(opened.fixed_sigmas), twin.next_chunk(opened.fixed_sigmas))
    rollout.rewind(8)
    assert np.abs(rollout.next_chunk(opened.fixed_sigmas).astype(int) - made[8].astype(int)).max() <= 1


def test_another_number_of_steps_is_refused(fixed: Bundle) -> None:
    assert sum(len(part) for part in generate(fixed, prompt=PROMPT, frames=10)) == 10
    with pytest.raises(RequestError, match="fixed list of 4 steps") as refused:
        generate(fixed, prompt=PROMPT, frames=10, steps=8)
    assert refused.value.code == "steps_fixed"


def test_without_its_entry_the_folder_is_refused_with_what_is_run(fixed: Bundle, tmp_path: Path) -> None:
    save_bundle(fixed, tmp_path)
    del families.FAMILIES[FAMILY.transformer]
    with pytest.raises(ModelError, match="WanTransformer3DModel; Farcast runs AnyFlow and AnyFlow-FAR") as refused:
        open_bundle(tmp_path)
    assert refused.value.code == "model_architecture"
