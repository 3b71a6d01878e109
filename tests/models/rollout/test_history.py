"""Rewinding to earlier chunks: what is repeated, what is kept, what is computed again."""

from __future__ import annotations

import numpy as np
import pytest

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.rollout import history
from tests.support.rollouts import SIGMAS, kinds_of_chunk, next_frames, star_rollout


@pytest.mark.parametrize("chunk", [0, 1, 4, 9])
def test_rewind_repeats_what_was(bundle: Bundle, chunk: int) -> None:
    rollout = star_rollout(bundle)
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
def test_going_back_a_little_decodes_nothing_again(bundle: Bundle, back: int, units: int) -> None:
    rollout = star_rollout(bundle)
    made = [rollout.next_chunk(SIGMAS) for _ in range(9)]
    for _ in range(units):  # begun, or even decoded
        rollout.run(rollout.next(), r=SIGMAS[1] if rollout.sigma == 1.0 else 0.0)
    assert rollout.cheap_rewind_from == 9 - history.STATES_KEPT
    rollout.rewind(9 - back)
    assert rollout.cheap_rewind_from == min(9 - back, 9 - history.STATES_KEPT)
    assert kinds_of_chunk(rollout.clone()) == ["prompt", "context", "step", "step", "decode", "append"]
    for index in range(9 - back, 9):
        assert np.abs(rollout.next_chunk(SIGMAS).astype(int) - made[index].astype(int)).max() <= 1


def test_the_chunk_in_progress_starts_again_without_decoding_again(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
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
    rollout = star_rollout(bundle)
    for _ in range(12):
        rollout.next_chunk(SIGMAS)
    kept = [record.decoder for record in rollout.state.history.records]
    assert [state is not None for state in kept] == [False] * (12 - history.STATES_KEPT) + [True] * history.STATES_KEPT
    size = kept[-1].nbytes if kept[-1] else 0
    assert 0 < size * history.STATES_KEPT < history.STATES_BYTES
    monkeypatch.setattr(history, "STATES_BYTES", 2 * size)
    rollout.next_chunk(SIGMAS)
    assert (rollout.chunk, rollout.cheap_rewind_from) == (13, 11)
    rollout.rewind(9)  # further back the decoder replays its past
    assert "decoder" in kinds_of_chunk(rollout)


def test_a_pending_prompt_survives_a_rewind(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    for _ in range(3):
        rollout.next_chunk(SIGMAS)
    rollout.prompt("a blue moon")
    rollout.rewind(1)
    assert rollout.chunk == 1
    rollout.next_chunk(SIGMAS)
    assert rollout.text == "a blue moon"


def test_rewind_into_the_chunk_in_progress_and_out_of_range(bundle: Bundle) -> None:
    rollout = star_rollout(bundle)
    rollout.next_chunk(SIGMAS)
    rollout.run(rollout.next(), r=0.5)
    rollout.rewind(1)
    assert (rollout.chunk, rollout.sigma) == (1, 1.0)
    with pytest.raises(RequestError, match="chunks 0 to 0"):
        rollout.rewind(7)


def test_going_back_into_a_clip_reads_it_again_a_chunk_at_a_time(bundle: Bundle) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (41, 64, 64, 3), dtype=np.uint8)
    rollout = star_rollout(bundle, clip=clip)
    made = [rollout.next_chunk(SIGMAS) for _ in range(5)]
    rollout.rewind(2)
    assert kinds_of_chunk(rollout.clone()) == ["prompt", "context", *["image"] * 3, "decode", "append"]
    for frames in made[2:]:
        assert np.abs(rollout.next_chunk(SIGMAS).astype(int) - frames.astype(int)).max() <= 1
