"""The units of a rollout, prompts and images, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint.bundle import Bundle
from models.errors import MediaError, PromptError, RequestError
from models.rollout.generate import as_trained, generate
from models.rollout.kv_cache import KVCache, window
from models.rollout.rollout import Rollout, Unit
from tests.support.reference import rollout_latents
from tests.support.rollouts import SIGMAS, kinds_of_chunk, star_rollout


def test_units_come_in_their_order(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    assert kinds_of_chunk(rollout) == ["prompt", "step", "step", "decode", "append"]
    assert (rollout.chunk, rollout.frame) == (1, 1)
    assert kinds_of_chunk(rollout) == ["step", "step", "decode", "append"]
    assert (rollout.chunk, rollout.frame) == (2, 13)
    rollout.prompt("a blue star")
    assert kinds_of_chunk(rollout) == ["prompt", "context", "step", "step", "decode", "append"]
    rollout.image(Image.new("RGB", (200, 100), "red"))
    assert kinds_of_chunk(rollout) == ["image", "decode", "append"]
    assert (rollout.chunk, rollout.frame) == (4, 26)


def test_asking_changes_nothing_and_only_the_due_unit_runs(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    assert rollout.next() == rollout.next() == Unit("prompt", ())
    with pytest.raises(AssertionError):
        rollout.run(Unit("decode", ()))


def test_costs_are_told_apart_and_stay_the_same_in_the_long_run(bundle: Bundle) -> None:
    rollout, seen = star_rollout(bundle), []
    for _ in range(12):
        kinds_of_chunk(rollout)
        seen.append(rollout.next().cost_key)
    assert len(set(seen[:5])) == 5
    assert len(set(seen[6:])) == 1


def test_a_chunk_can_be_finished_from_anywhere(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    rollout.run(rollout.next())
    rollout.run(rollout.next(), r=0.83)
    assert rollout.sigma == 0.83
    rollout.run(rollout.next())
    assert rollout.sigma == 0.0
    assert rollout.next().kind == "decode"


@pytest.mark.parametrize("r", [1.0, 1.5, -0.1, float("nan")])
def test_a_step_must_go_down(bundle: Bundle, r: float) -> None:
    rollout = star_rollout(bundle)
    rollout.run(rollout.next())
    with pytest.raises(RequestError, match="below the noise level"):
        rollout.run(rollout.next(), r=r)


def test_same_seed_same_frames_and_another_seed_others(bundle: Bundle) -> None:
    def clip(seed: int) -> np.ndarray:
        return np.concatenate(list(generate(bundle, prompt="a red star", frames=20, steps=2, seed=seed)))

    assert clip(1).shape == (20, 64, 64, 3)
    assert np.array_equal(clip(1), clip(1))
    assert not np.array_equal(clip(1), clip(2))


def test_a_clone_goes_its_own_way(bundle: Bundle) -> None:
    rollout, other = star_rollout(bundle), star_rollout(bundle)
    for _ in range(3):
        rollout.next_chunk(SIGMAS)
        other.next_chunk(SIGMAS)
    twin = rollout.clone()
    twin.prompt("a blue moon")
    for _ in range(3):
        twin.next_chunk(SIGMAS)
    for _ in range(2):
        assert np.array_equal(rollout.next_chunk(SIGMAS), other.next_chunk(SIGMAS))


def test_a_short_clip_is_made_in_the_chunks_of_the_reference(bundle: Bundle) -> None:
    assert as_trained(bundle, 81) == ((1, 3, 3, 3, 3, 3, 3, 2), 19)
    assert as_trained(bundle, 1) == ((1,), 16)
    assert as_trained(bundle, 14) == ((1, 3, 1), 16)
    assert as_trained(bundle, 82) == ((), None)


def test_latest_prompt_wins_and_waits_for_the_next_chunk(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    rollout.next_chunk(SIGMAS)
    rollout.run(rollout.next(), r=0.5)
    rollout.prompt("a blue star")
    rollout.prompt("a green star")
    assert rollout.text == "a red star"
    while rollout.chunk == 1:
        rollout.run(rollout.next())
    rollout.run(rollout.next())
    assert rollout.text == "a green star"


def test_restart_chunk_takes_the_new_prompt_at_once(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    rollout.next_chunk(SIGMAS)
    rollout.run(rollout.next(), r=0.5)
    rollout.prompt("a green star")
    rollout.restart_chunk()
    assert rollout.next() == Unit("prompt", ())
    ours = rollout.next_chunk(SIGMAS)
    fresh = star_rollout(bundle)
    fresh.next_chunk(SIGMAS)
    fresh.prompt("a green star")
    assert np.array_equal(ours, fresh.next_chunk(SIGMAS))


def test_a_new_prompt_re_encodes_the_context_under_it(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    rollout_latents(rollout, SIGMAS, 5)
    rollout.prompt("a green star")
    rollout.run(rollout.next())
    rollout.run(rollout.next())
    fresh = KVCache(bundle.network, window(bundle))
    fresh.load([chunk.latents for chunk in rollout.state.cache.chunks])
    fresh.encode(bundle.network.prompt_kv([bundle.prompts.encode("a green star")]))
    context = fresh.current(3)[0].at
    assert torch.equal(fresh.keys[:, :, :context], rollout.state.cache.keys[:, :, :context])


def test_an_image_is_where_the_video_starts_and_a_new_one_a_new_shot(bundle: Bundle) -> None:
    red, blue = Image.new("RGB", (300, 90), "red"), Image.new("RGB", (64, 64), "blue")
    rollout = star_rollout(bundle, image=red)
    first = rollout.next_chunk(SIGMAS)
    rollout.next_chunk(SIGMAS)
    rollout.image(blue)
    cut = rollout.next_chunk(SIGMAS)
    assert first.shape == cut.shape == (1, 64, 64, 3)
    assert rollout.frame == 14
    alone = star_rollout(bundle, image=blue)
    assert np.array_equal(cut, alone.next_chunk(SIGMAS))  # nothing of the old shot is left
    assert [chunk.frames for chunk in rollout.state.cache.chunks] == [1]


@pytest.mark.parametrize(("frames", "fps", "chunks"), [(1, 16, [1]), (17, 16, [1, 12, 4]), (60, 30, [1, 12, 12, 4])])
def test_a_clip_of_any_length_and_rate_is_continued(bundle: Bundle, frames: int, fps: float, chunks: list[int]) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)
    rollout = star_rollout(bundle, clip=clip, clip_fps=fps)
    assert [len(rollout.next_chunk(SIGMAS)) for _ in chunks] == chunks
    assert rollout.next().kind == "step"
    assert len(rollout.next_chunk(SIGMAS)) == 12


def test_memory_and_positions_stay_bounded(bundle: Bundle) -> None:
    rollout = star_rollout(bundle, clip=np.zeros((17, 64, 64, 3), np.uint8))  # a short chunk in the middle, too
    for _ in range(40):
        kinds_of_chunk(rollout)
        segment, rope = rollout.state.cache.current(3)
        assert rollout.state.cache.frames <= 16
        assert len(rope) == segment.length
        assert segment.at + segment.length <= rollout.state.cache.keys.shape[2]
    assert len(rollout.state.cache.chunks) == 6


@pytest.mark.parametrize("mode", ["exact", "rolling", "cheap"])
def test_every_append_mode_runs_for_long(bundle: Bundle, mode: str) -> None:
    rollout = star_rollout(bundle, append=mode)
    latents = rollout_latents(rollout, [1.0, 0.0], 20)
    assert all(torch.isfinite(chunk).all() for chunk in latents)


def test_bad_arguments_name_what_is_right(bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="not from both"):
        star_rollout(bundle, image=Image.new("RGB", (8, 8)), clip=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(RequestError, match="from 1"):
        star_rollout(bundle, guidance=0.5)
    with pytest.raises(RequestError, match="exact"):
        star_rollout(bundle, append="fast")
    with pytest.raises(PromptError, match="empty"):
        Rollout(bundle, prompt="  ")
    with pytest.raises(MediaError, match="no frames"):
        star_rollout(bundle, clip=np.zeros((0, 8, 8, 3), np.uint8))
    with pytest.raises(RequestError, match="1 to 50"):
        generate(bundle, prompt="a star", steps=51)
    with pytest.raises(RequestError, match="frames is 0"):
        generate(bundle, prompt="a star", frames=0)


def test_frames_can_be_fetched_after_the_next_work_has_begun(bundle: Bundle) -> None:
    rollout, other = star_rollout(bundle), star_rollout(bundle)
    expected = other.next_chunk(SIGMAS)
    while rollout.next().kind != "decode":
        rollout.run(rollout.next(), r=SIGMAS[1] if rollout.sigma == 1.0 and rollout.next().kind == "step" else None)
    delivery = rollout.launch(rollout.next())
    assert delivery is not None
    while rollout.chunk == 0:
        rollout.run(rollout.next())
    assert delivery.ready()
    assert np.array_equal(delivery.result(), expected)


def test_next_chunk_needs_levels_that_end_at_zero(bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="not at 0"):
        star_rollout(bundle).next_chunk([1.0, 0.5])


def test_a_prompt_with_too_many_tokens_is_refused_when_it_is_requested(bundle: Bundle) -> None:
    rollout, long = star_rollout(bundle), "\u2603 " * 1500
    with pytest.raises(PromptError, match="tokens long"):
        rollout.prompt(long)
    with pytest.raises(PromptError, match="tokens long"):
        Rollout(bundle, prompt=long)
    assert rollout.pending_prompt is not None
    assert rollout.pending_prompt.parts == (("a red star", 1.0),)


def test_a_pending_prompt_and_image_can_be_cancelled(bundle: Bundle) -> None:
    rollout, other = star_rollout(bundle), star_rollout(bundle)
    rollout.next_chunk(SIGMAS)
    other.next_chunk(SIGMAS)
    rollout.prompt("a blue star")
    rollout.image(np.zeros((8, 8, 3), np.uint8))
    assert rollout.pending_image is not None
    rollout.cancel_prompt()
    rollout.cancel_image()
    assert (rollout.pending_prompt, rollout.pending_image) == (None, None)
    assert np.array_equal(rollout.next_chunk(SIGMAS), other.next_chunk(SIGMAS))


def test_renoising_starts_denoising_again(bundle: Bundle) -> None:
    rollout = star_rollout(bundle, sampler="renoise")
    rollout.run(rollout.next())
    with pytest.raises(RequestError, match="re-noised"):
        rollout.renoise(0.5)
    rollout.run(rollout.next(), r=0.5)
    assert rollout.sigma == 0.5
    by_hand = star_rollout(bundle)
    by_hand.run(by_hand.next())
    by_hand.run(by_hand.next())
    by_hand.renoise(0.5)
    assert rollout.latents is not None
    assert by_hand.latents is not None
    assert torch.equal(rollout.latents, by_hand.latents)
    with pytest.raises(RequestError, match="flowmap or renoise"):
        star_rollout(bundle, sampler="euler")
