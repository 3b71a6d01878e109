from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoint.bundle import Bundle
from models.errors import MediaError, PromptError, RequestError
from models.rollout import flowmap, history, snapshot
from models.rollout.generate import as_trained, generate
from models.rollout.kv_cache import KVCache, window
from models.rollout.rollout import Rollout, Unit
from tests.support.reference import rollout_latents

SIGMAS = flowmap.schedule(2, 5.0)


def take(bundle: Bundle, **options: object) -> Rollout:
    return Rollout(bundle, prompt="a red star", seed=1, **options)  # type: ignore[arg-type]


def kinds_of_chunk(rollout: Rollout) -> list[str]:
    chunk, kinds, stops = rollout.chunk, [], iter(SIGMAS[1:])
    while rollout.chunk == chunk:
        unit = rollout.next()
        kinds.append(unit.kind if unit.kind != "encode" else str(unit.cost_key[0]))
        rollout.run(unit, r=next(stops) if unit.kind == "step" else None)
    return kinds


def test_units_come_in_their_order(bundle: Bundle) -> None:
    rollout = take(bundle)
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
    rollout = take(bundle)
    assert rollout.next() == rollout.next() == Unit("prompt", ())
    with pytest.raises(AssertionError):
        rollout.run(Unit("decode", ()))


def test_costs_are_told_apart_and_stay_the_same_in_the_long_run(bundle: Bundle) -> None:
    rollout, seen = take(bundle), []
    for _ in range(12):
        kinds_of_chunk(rollout)
        seen.append(rollout.next().cost_key)
    assert len(set(seen[:5])) == 5
    assert len(set(seen[6:])) == 1


def test_a_chunk_can_be_finished_from_anywhere(bundle: Bundle) -> None:
    rollout = take(bundle)
    rollout.run(rollout.next())
    rollout.run(rollout.next(), r=0.83)
    assert rollout.sigma == 0.83
    rollout.run(rollout.next())
    assert rollout.sigma == 0.0
    assert rollout.next().kind == "decode"


@pytest.mark.parametrize("r", [1.0, 1.5, -0.1, float("nan")])
def test_a_step_must_go_down(bundle: Bundle, r: float) -> None:
    rollout = take(bundle)
    rollout.run(rollout.next())
    with pytest.raises(RequestError, match="below the noise level"):
        rollout.run(rollout.next(), r=r)


def test_same_seed_same_frames_and_another_seed_others(bundle: Bundle) -> None:
    def clip(seed: int) -> np.ndarray:
        return np.concatenate(list(generate(bundle, prompt="a red star", frames=20, steps=2, seed=seed)))

    assert clip(1).shape == (20, 64, 64, 3)
    assert np.array_equal(clip(1), clip(1))
    assert not np.array_equal(clip(1), clip(2))


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("units", [0, 3, 16, 38, 39, 40, 41])
def test_snapshot_restore_goes_on_as_if_nothing_had_happened(bundle: Bundle, units: int, full: bool) -> None:
    rollout = take(bundle)
    stops = [0.0, 0.5]
    for _ in range(units):
        unit = rollout.next()
        rollout.run(unit, r=stops[rollout.sigma == 1.0] if unit.kind == "step" else None)
    twin = snapshot.load(bundle, snapshot.save(rollout.state, full=full))
    assert (twin.chunk, twin.frame, twin.sigma) == (rollout.chunk, rollout.frame, rollout.sigma)
    for _ in range(3):
        theirs, ours = next_frames(rollout), next_frames(twin)
        if full:
            assert np.array_equal(theirs, ours)
        else:
            assert np.abs(theirs.astype(int) - ours.astype(int)).max() <= 1


def next_frames(rollout: Rollout) -> np.ndarray:
    while True:
        unit = rollout.next()
        r = (0.5 if rollout.sigma == 1.0 else 0.0) if unit.kind == "step" else None
        frames = rollout.run(unit, r=r)
        if frames is not None:
            return frames


def test_a_snapshot_carries_wishes_pictures_and_transitions(bundle: Bundle) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    rollout = take(bundle, clip=clip, guidance=2.0)
    rollout.next_chunk(SIGMAS)
    rollout.next_chunk(SIGMAS)
    rollout.prompt([("a blue star", 2.0), ("a green heart", 1.0)], transition=3, kind="slerp")
    twin = snapshot.load(bundle, snapshot.save(rollout.state))
    for _ in range(5):
        assert np.array_equal(rollout.next_chunk(SIGMAS), twin.next_chunk(SIGMAS))
    rollout.prompt("a moon")
    rollout.image(Image.new("RGB", (64, 64), "blue"))
    twin = snapshot.load(bundle, snapshot.save(rollout.state))
    for _ in range(3):
        assert np.array_equal(rollout.next_chunk(SIGMAS), twin.next_chunk(SIGMAS))


def test_a_snapshot_of_another_model_is_refused(bundle: Bundle) -> None:
    saved = snapshot.save(take(bundle).state)
    saved["state"] = {**saved["state"], "model": "other"}
    with pytest.raises(RequestError, match="other"):
        snapshot.load(bundle, saved)
    with pytest.raises(RequestError, match="snapshot"):
        snapshot.load(bundle, {})


def test_a_clone_goes_its_own_way(bundle: Bundle) -> None:
    rollout, other = take(bundle), take(bundle)
    for _ in range(3):
        rollout.next_chunk(SIGMAS)
        other.next_chunk(SIGMAS)
    twin = rollout.clone()
    twin.prompt("a blue moon")
    for _ in range(3):
        twin.next_chunk(SIGMAS)
    for _ in range(2):
        assert np.array_equal(rollout.next_chunk(SIGMAS), other.next_chunk(SIGMAS))


@pytest.mark.parametrize("chunk", [0, 1, 4, 9])
def test_rewind_repeats_what_was(bundle: Bundle, chunk: int) -> None:
    rollout = take(bundle)
    made = []
    for index in range(10):
        if index == 3:
            rollout.prompt("a blue moon", transition=2)
        made.append(rollout.next_chunk(SIGMAS))
    rollout.rewind(chunk)
    assert (rollout.chunk, rollout.frame) == (chunk, sum(len(frames) for frames in made[:chunk]))
    for index in range(chunk, min(chunk + 3, 10)):
        frames = rollout.next_chunk(SIGMAS)
        assert np.abs(frames.astype(int) - made[index].astype(int)).max() <= 1


@pytest.mark.parametrize("back", [1, 2, 4])
@pytest.mark.parametrize("units", [0, 2, 3])
def test_going_back_a_little_decodes_nothing_anew(bundle: Bundle, back: int, units: int) -> None:
    rollout = take(bundle)
    made = [rollout.next_chunk(SIGMAS) for _ in range(9)]
    for _ in range(units):  # begun, or even decoded
        rollout.run(rollout.next(), r=SIGMAS[1] if rollout.sigma == 1.0 else 0.0)
    assert rollout.cheap_rewind_from == 9 - history.STATES_KEPT
    rollout.rewind(9 - back)
    assert rollout.cheap_rewind_from == min(9 - back, 9 - history.STATES_KEPT)
    assert kinds_of_chunk(rollout.clone()) == ["prompt", "context", "step", "step", "decode", "append"]
    for index in range(9 - back, 9):
        assert np.abs(rollout.next_chunk(SIGMAS).astype(int) - made[index].astype(int)).max() <= 1


def test_the_chunk_in_progress_starts_again_without_decoding_anew(bundle: Bundle) -> None:
    rollout = take(bundle)
    for _ in range(5):
        rollout.next_chunk(SIGMAS)
    twin = rollout.clone()
    frames = next_frames(rollout)
    rollout.rewind(5)
    assert "decoder" not in kinds_of_chunk(rollout.clone())
    assert np.abs(next_frames(rollout).astype(int) - frames.astype(int)).max() <= 1
    twin.rewind(5)
    assert np.abs(next_frames(twin).astype(int) - frames.astype(int)).max() <= 1


def test_states_kept_for_going_back_are_bounded(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = take(bundle)
    for _ in range(12):
        rollout.next_chunk(SIGMAS)
    kept = [record.decoder for record in rollout.state.history.records]
    assert [state is not None for state in kept] == [False] * (12 - history.STATES_KEPT) + [True] * history.STATES_KEPT
    size = kept[-1].nbytes if kept[-1] else 0
    assert 0 < size * history.STATES_KEPT < history.STATES_BYTES
    monkeypatch.setattr(history, "STATES_BYTES", 2 * size)
    rollout.next_chunk(SIGMAS)
    assert (rollout.chunk, rollout.cheap_rewind_from) == (13, 11)
    rollout.rewind(9)  # further back the codec hears its past again
    assert "decoder" in kinds_of_chunk(rollout)


def test_a_short_clip_is_made_in_the_chunks_of_the_reference(bundle: Bundle) -> None:
    assert as_trained(bundle, 81) == ((1, 3, 3, 3, 3, 3, 3, 2), 19)
    assert as_trained(bundle, 1) == ((1,), 16)
    assert as_trained(bundle, 14) == ((1, 3, 1), 16)
    assert as_trained(bundle, 82) == ((), None)


def test_a_wish_survives_a_rewind(bundle: Bundle) -> None:
    rollout = take(bundle)
    for _ in range(3):
        rollout.next_chunk(SIGMAS)
    rollout.prompt("a blue moon")
    rollout.rewind(1)
    assert rollout.chunk == 1
    rollout.next_chunk(SIGMAS)
    assert rollout.text == "a blue moon"


def test_rewind_into_the_chunk_in_progress_and_out_of_range(bundle: Bundle) -> None:
    rollout = take(bundle)
    rollout.next_chunk(SIGMAS)
    rollout.run(rollout.next(), r=0.5)
    rollout.rewind(1)
    assert (rollout.chunk, rollout.sigma) == (1, 1.0)
    with pytest.raises(RequestError, match="chunks 0 to 0"):
        rollout.rewind(7)


def test_latest_prompt_wins_and_waits_for_the_next_chunk(bundle: Bundle) -> None:
    rollout = take(bundle)
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
    rollout = take(bundle)
    rollout.next_chunk(SIGMAS)
    rollout.run(rollout.next(), r=0.5)
    rollout.prompt("a green star")
    rollout.restart_chunk()
    assert rollout.next() == Unit("prompt", ())
    ours = rollout.next_chunk(SIGMAS)
    fresh = take(bundle)
    fresh.next_chunk(SIGMAS)
    fresh.prompt("a green star")
    assert np.array_equal(ours, fresh.next_chunk(SIGMAS))


def test_a_new_prompt_re_encodes_the_context_under_it(bundle: Bundle) -> None:
    rollout = take(bundle)
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
    rollout = take(bundle, image=red)
    first = rollout.next_chunk(SIGMAS)
    rollout.next_chunk(SIGMAS)
    rollout.image(blue)
    cut = rollout.next_chunk(SIGMAS)
    assert first.shape == cut.shape == (1, 64, 64, 3)
    assert rollout.frame == 14
    alone = take(bundle, image=blue)
    assert np.array_equal(cut, alone.next_chunk(SIGMAS))  # nothing of the old shot is left
    assert [chunk.frames for chunk in rollout.state.cache.chunks] == [1]


@pytest.mark.parametrize(("frames", "fps", "chunks"), [(1, 16, [1]), (17, 16, [1, 12, 4]), (60, 30, [1, 12, 12, 4])])
def test_a_clip_of_any_length_and_rate_is_continued(bundle: Bundle, frames: int, fps: float, chunks: list[int]) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)
    rollout = take(bundle, clip=clip, clip_fps=fps)
    assert [len(rollout.next_chunk(SIGMAS)) for _ in chunks] == chunks
    assert rollout.next().kind == "step"
    assert len(rollout.next_chunk(SIGMAS)) == 12


def test_going_back_into_a_clip_reads_it_again_a_chunk_at_a_time(bundle: Bundle) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (41, 64, 64, 3), dtype=np.uint8)
    rollout = take(bundle, clip=clip)
    made = [rollout.next_chunk(SIGMAS) for _ in range(5)]
    rollout.rewind(2)
    assert kinds_of_chunk(rollout.clone()) == ["prompt", "context", *["image"] * 3, "decode", "append"]
    for frames in made[2:]:
        assert np.abs(rollout.next_chunk(SIGMAS).astype(int) - frames.astype(int)).max() <= 1


def test_memory_and_positions_stay_bounded(bundle: Bundle) -> None:
    rollout = take(bundle, clip=np.zeros((17, 64, 64, 3), np.uint8))  # a short chunk in the middle, too
    for _ in range(40):
        kinds_of_chunk(rollout)
        segment, rope = rollout.state.cache.current(3)
        assert rollout.state.cache.frames <= 16
        assert len(rope) == segment.length
        assert segment.at + segment.length <= rollout.state.cache.keys.shape[2]
    assert len(rollout.state.cache.chunks) == 6


@pytest.mark.parametrize("mode", ["exact", "rolling", "cheap"])
def test_every_append_mode_runs_for_long(bundle: Bundle, mode: str) -> None:
    rollout = take(bundle, append=mode)
    latents = rollout_latents(rollout, [1.0, 0.0], 20)
    assert all(torch.isfinite(chunk).all() for chunk in latents)


def test_bad_arguments_name_what_is_right(bundle: Bundle) -> None:
    with pytest.raises(RequestError, match="not from both"):
        take(bundle, image=Image.new("RGB", (8, 8)), clip=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(RequestError, match="from 1"):
        take(bundle, guidance=0.5)
    with pytest.raises(RequestError, match="exact"):
        take(bundle, append="fast")
    with pytest.raises(PromptError, match="empty"):
        Rollout(bundle, prompt="  ")
    with pytest.raises(MediaError, match="no frames"):
        take(bundle, clip=np.zeros((0, 8, 8, 3), np.uint8))
    with pytest.raises(RequestError, match="1 to 50"):
        generate(bundle, prompt="a star", steps=51)
    with pytest.raises(RequestError, match="frames is 0"):
        generate(bundle, prompt="a star", frames=0)


def test_frames_can_be_fetched_after_the_next_work_has_begun(bundle: Bundle) -> None:
    rollout, other = take(bundle), take(bundle)
    expected = other.next_chunk(SIGMAS)
    while rollout.next().kind != "decode":
        rollout.run(rollout.next(), r=SIGMAS[1] if rollout.sigma == 1.0 and rollout.next().kind == "step" else None)
    delivery = rollout.decode_later()
    while rollout.chunk == 0:
        rollout.run(rollout.next())
    assert delivery.ready()
    assert np.array_equal(delivery.result(), expected)
