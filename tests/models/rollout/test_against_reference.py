"""The engine against the reference (`oracle`), fp32, same noise. DESIGN section 3 says why the padding is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
import torch

from models.checkpoint.bundle import Bundle
from models.rollout import flowmap
from models.rollout.kv_cache import AppendMode, KVCache, window
from models.rollout.rollout import Rollout
from tests.support.reference import pipeline, reference_latents, relative_error, rollout_latents, whole_noise

PROMPT = "a big red star spinning on a navy background"
BOUND = 1e-4
WHOLE = (1, 3, 3, 3, 3, 3, 3, 2)  # 81 pixel frames, the longest video the reference makes


def compare(
    bundle: Bundle, partition: Sequence[int], steps: int, *, given: np.ndarray | None = None, guidance: float = 1.0
) -> float:
    """Largest relative difference over a whole video; `given` are pixel frames it starts with."""
    rollout = Rollout(
        bundle, prompt=PROMPT, seed=7, clip=given, guidance=guidance, partition=partition, context_frames=19
    )  # fmt: skip
    ours = rollout_latents(rollout, flowmap.schedule(steps, bundle.shift), len(partition))
    start = None
    if given is not None:
        frames = 1 + (len(given) - 1) // 4
        start = torch.cat(ours, 1)[:, :frames]
    theirs = reference_latents(
        bundle, PROMPT, partition=partition, steps=steps, noise=whole_noise(bundle, 7, partition), given=start,
        guidance=guidance,
    )  # fmt: skip
    return relative_error(torch.cat(ours, 1), theirs)


def clip(frames: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_text_to_video(bundle: Bundle, steps: int) -> None:
    assert compare(bundle, WHOLE, steps) < BOUND


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("frames", [1, 13, 37])
def test_image_and_video_to_video(bundle: Bundle, frames: int, guidance: float) -> None:
    assert compare(bundle, WHOLE, 2, given=clip(frames), guidance=guidance) < BOUND


@pytest.mark.parametrize("steps", [1, 4])
def test_guidance(bundle: Bundle, steps: int) -> None:
    assert compare(bundle, WHOLE, steps, guidance=3.0) < BOUND


def test_a_clip_that_ends_inside_a_chunk_makes_it_shorter(bundle: Bundle) -> None:
    partition = (
        1,
        3,
        1,
        3,
        3,
        3,
    )  # 17 frames given = 5 latent frames; the reference would fill the third chunk with zeros
    assert compare(bundle, partition, 2, given=clip(17)) < BOUND


def test_two_rollouts_are_the_reference_batch(bundle: Bundle) -> None:
    partition, sigmas = (1, 3, 3, 3), flowmap.schedule(2, bundle.shift)
    ours = [
        torch.cat(rollout_latents(Rollout(bundle, prompt=PROMPT, seed=seed), sigmas, len(partition)), 1)
        for seed in (1, 2)
    ]
    noise = torch.cat([whole_noise(bundle, seed, partition) for seed in (1, 2)])
    theirs = reference_latents(bundle, PROMPT, partition=partition, steps=2, noise=noise)
    assert relative_error(torch.cat(ours), theirs) < BOUND


def test_given_frames_encode_as_in_the_reference(bundle: Bundle) -> None:
    frames = clip(13)
    ours = torch.cat(rollout_latents(Rollout(bundle, prompt=PROMPT, clip=frames), [1.0, 0.0], 2), 1)
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
    theirs = pipeline(bundle).encode_video(video, 64, 64)
    assert relative_error(ours, theirs) < 1e-5


def beyond(bundle: Bundle, mode: str, chunks: int = 12) -> float:
    """Difference in the chunk after `chunks` from the reference run on the re-based window as given latents."""
    sigmas = flowmap.schedule(2, bundle.shift)
    rollout = Rollout(bundle, prompt=PROMPT, seed=3, append=mode)
    rollout_latents(rollout, sigmas, chunks)
    window = [chunk.latents for chunk in rollout.state.cache.chunks]
    assert [latents.shape[1] for latents in window] == [1, 3, 3, 3, 3, 3]  # sink + 9 far + 6 near
    ours = rollout_latents(rollout, sigmas, 1)[0]
    partition = (1, 3, 3, 3, 3, 3, 3)
    noise = whole_noise(bundle, 3, partition)
    noise[:, -3:] = whole_noise(bundle, 3, (1, *[3] * chunks))[:, -3:]
    theirs = reference_latents(bundle, PROMPT, partition=partition, steps=2, noise=noise, given=torch.cat(window, 1))
    return relative_error(ours, theirs[:, -3:])


def test_beyond_the_reference_the_window_is_what_it_would_make_of_it(bundle: Bundle) -> None:
    assert beyond(bundle, "exact") < BOUND


def test_rolling_and_cheap_windows_deviate_a_little(bundle: Bundle) -> None:
    rolling, cheap = beyond(bundle, "rolling"), beyond(bundle, "cheap")
    assert 1e-6 < rolling < cheap < 0.05


def test_a_window_that_slid_reads_like_one_encoded_anew_by_rotation_alone(bundle: Bundle) -> None:
    """In the first layer, keys depend on nothing but their chunk: rolling must equal exact there, positions and all."""
    prompt = bundle.network.prompt_kv([bundle.prompts.encode(PROMPT)])
    noise = whole_noise(bundle, 0, (1, *[3] * 9)).split((1, *[3] * 9), dim=1)
    stores = {}
    for mode in get_args(AppendMode):
        stores[mode] = KVCache(bundle.network, window(bundle), mode=mode)
        for latents in noise:
            stores[mode].push(latents)
            stores[mode].encode(prompt)
    for mode in ("rolling", "cheap"):
        assert relative_error(stores[mode].keys[0], stores["exact"].keys[0]) < 1e-5
        assert relative_error(stores[mode].values[0], stores["exact"].values[0]) < 1e-5


def test_chunks_decode_as_the_whole_video(bundle: Bundle) -> None:
    wan_vae, latents = bundle.wan_vae, torch.randn(1, 8, *bundle.latent_shape)
    state = wan_vae.start()
    parts = [wan_vae.decode_float(state, latents[:, a:b]) for a, b in ((0, 1), (1, 4), (4, 5), (5, 8))]
    z = latents.transpose(1, 2) * wan_vae.std + wan_vae.mean
    with torch.no_grad():
        whole = bundle.vae.decode(z).sample[0].permute(1, 2, 3, 0)
    assert relative_error(torch.cat(parts), whole) < 1e-5


def test_frames_are_what_the_pipeline_would_show(bundle: Bundle) -> None:
    rollout = Rollout(bundle, prompt=PROMPT, seed=7)
    frames = np.concatenate([rollout.next_chunk([1.0, 0.0]) for _ in range(3)])
    assert frames.shape == (25, 64, 64, 3)
    noise = whole_noise(bundle, 7, (1, 3, 3)).transpose(1, 2)
    theirs = pipeline(bundle)(
        prompt=PROMPT,
        height=64,
        width=64,
        num_frames=25,
        num_inference_steps=1,
        latents=noise,
        chunk_partition=[1, 3, 3],
    ).frames[0]
    assert np.abs(frames.astype(float) - theirs * 255).max() <= 0.51
