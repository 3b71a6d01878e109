"""The toy world keeps its promises: what a caption says is drawn, and nothing ever jumps."""

from __future__ import annotations

import numpy as np
import pytest

from models.toyworld import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SIZES,
    Scene,
    Track,
    caption,
    random_scene,
    render,
    simulate,
)
from models.toyworld.captions import named
from models.toyworld.shapes import distance_field


def scene(**words: str) -> Scene:
    return Scene(
        **{"shape": "circle", "colour": "red", "size": "big", "motion": "bouncing", "background": "navy", **words}
    )


def test_same_seed_same_frames() -> None:
    first, second = (render(simulate([(0, scene())], 5, np.random.default_rng(3)), 64) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("motion", MOTIONS)
def test_object_stays_in_the_picture_and_never_jumps(motion: str) -> None:
    for seed in range(5):
        track = simulate([(0, scene(motion=motion))], 400, np.random.default_rng(seed))
        assert np.all(np.abs(track.x) <= 1)
        assert np.all(np.abs(track.y) <= 1)
        assert np.hypot(np.diff(track.x), np.diff(track.y)).max() < 0.15


def test_a_spinning_object_starts_at_the_front_and_is_seen_from_the_side_in_turn() -> None:
    track = simulate([(0, scene(motion="spinning"))], 200, np.random.default_rng(0))
    assert track.width[0] > 0.95
    assert track.width.min() < 0.35
    assert np.abs(np.diff(track.width)).max() < 0.15
    assert np.ptp(track.radius) == np.ptp(track.tilt) == 0


def test_what_stops_spinning_turns_back_to_the_front() -> None:
    track = simulate([(0, scene(motion="spinning")), (9, scene(motion="bouncing"))], 30, np.random.default_rng(0))
    assert track.width[8] < 0.5
    assert np.abs(np.diff(track.width[8:])).max() < 0.5
    assert track.width[-1] > 0.999


@pytest.mark.parametrize("width", [1.0, 0.5, 0.3])
def test_a_turned_object_is_that_much_narrower_and_its_edge_as_soft(width: float) -> None:
    count = 17
    square, one = (scene(shape="square", colour="white", background="black"),) * count, np.ones(count)
    along = np.linspace(0, 2 / 128, count)  # one pixel
    rows = render(Track(square, along, 0 * one, 0 * one, width * one, 0.5 * one), 128)[:, 64].mean(-1)
    assert np.sum(rows[0] > 128) / 128 == pytest.approx(0.4 * width, abs=0.02)
    assert np.ptp(rows.sum(1) / 255) < 0.1  # pixels: a hard edge would come and go by most of one


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_goes_on_for_ever(motion: str) -> None:
    track = simulate([(0, scene(motion=motion))], 1200, np.random.default_rng(1))
    late = slice(1000, 1200)
    moved = np.ptp(track.x[late]) + np.ptp(track.y[late]) + np.ptp(track.width[late]) + np.ptp(track.radius[late])
    assert moved > 0.2


def test_a_new_scene_takes_over_where_the_last_one_was() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        track = simulate([(0, random_scene(rng)), (20, random_scene(rng))], 40, rng)
        assert track.scenes[19] != track.scenes[20] or track.scenes[0] == track.scenes[39]
        assert np.hypot(np.diff(track.x), np.diff(track.y)).max() < 0.45


@pytest.mark.parametrize("colour", COLOURS)
def test_the_object_has_its_colour(colour: str) -> None:
    track = simulate([(0, scene(shape="square", colour=colour, motion="spinning"))], 1, np.random.default_rng(0))
    frame = render(track, 128)[0].astype(float)
    row, column = (int((v[0] + 1) * 64) for v in (track.y, track.x))
    nearest = min(COLOURS, key=lambda name: float(np.abs(frame[row, column] - COLOURS[name]).sum()))
    assert nearest == colour


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_background_has_its_colour(background: str) -> None:
    frame = render(simulate([(0, scene(size="small", background=background))], 1, np.random.default_rng(0)), 64)[0]
    middle = np.median(frame.reshape(-1, 3), axis=0)
    assert min(BACKGROUNDS, key=lambda name: float(np.abs(middle - BACKGROUNDS[name]).sum())) == background


def test_shapes_differ_from_each_other() -> None:
    inside = {name: distance_field(name) < 0 for name in SHAPES}
    for name, mask in inside.items():
        assert mask.float().mean() > 0.02
        for other, mask_of_other in inside.items():
            assert name == other or (mask ^ mask_of_other).float().mean() > 0.01


def test_captions_name_the_scene() -> None:
    said = caption(scene(shape="star", colour="green", size="small", motion="pulsing", background="teal"))
    assert said == "a small green star pulsing on a teal background"
    rng = np.random.default_rng(0)
    assert len({caption(scene(), rng) for _ in range(200)}) > 50
    assert all("red" in caption(scene(), rng) for _ in range(50))


def test_sizes_show() -> None:
    tracks = [simulate([(0, scene(size=size))], 1, np.random.default_rng(0)) for size in SIZES]
    assert tracks[0].radius[0] < tracks[1].radius[0]


def test_unknown_words_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no 'octagon'"):
        scene(shape="octagon")
    with pytest.raises(ValueError, match="frame 0"):
        simulate([(3, scene())], 5, np.random.default_rng(0))


def test_what_a_caption_names_is_what_it_was_made_from() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        truth = random_scene(rng)
        said = named(caption(truth, rng))
        assert said["shape"] == truth.shape
        assert all(getattr(truth, name) == word for name, word in said.items())


def test_the_longest_phrase_counts() -> None:
    assert named("A RED hoop, dark red background") == {"colour": "red", "shape": "ring", "background": "maroon"}
    assert named("something going round in circles") == {"motion": "orbiting"}
    assert named("reddish circled hearts") == {}
