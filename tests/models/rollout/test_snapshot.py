"""A rollout saved as data goes on, in either size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.rollout import snapshot
from tests.support.rollouts import SIGMAS, next_frames, star_rollout


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("units", [0, 3, 16, 38, 39, 40, 41])
def test_snapshot_restore_goes_on_as_if_nothing_had_happened(bundle: Bundle, units: int, full: bool) -> None:
    rollout = star_rollout(bundle)
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


def test_a_snapshot_carries_pending_prompts_images_and_transitions(bundle: Bundle) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    rollout = star_rollout(bundle, clip=clip, guidance=2.0)
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
    saved = snapshot.save(star_rollout(bundle).state)
    saved["state"] = {**saved["state"], "model": "other"}
    with pytest.raises(RequestError, match="other"):
        snapshot.load(bundle, saved)
    with pytest.raises(RequestError, match="snapshot"):
        snapshot.load(bundle, {})
