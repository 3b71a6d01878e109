"""The bench of rendered takes: its figures mean what they say, and its page is whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the server's packages are not installed")

from bench.commands.render import app, counts
from models.evaluation.tasks.take_similarity import Stretch, compare, take_quality
from models.toyworld import Scene, render, simulate
from stream.errors import ConfigError
from tests.support.small_bundle import small_bundle

RED = Scene("circle", "red", "big", "bouncing", "navy")
BLUE = Scene("star", "blue", "big", "spinning", "cream")


def film(scene: Scene, seed: int, frames: int = 40) -> np.ndarray:
    return render(simulate([(0, scene)], frames, np.random.default_rng(seed)), 64)


@pytest.mark.slow
def test_a_take_is_like_itself_and_unlike_another() -> None:
    a, stretches = film(RED, 1), [Stretch(0, 40, RED)]
    same = compare(a, a, stretches)
    assert same.psnr.min() > 70
    assert np.nanmax(same.away) == 0
    assert same.colours.max() == 0
    assert same.words == (1.0,)
    moved, other = compare(a, film(RED, 2), stretches), compare(a, film(BLUE, 2), stretches)
    assert same.psnr.mean() > moved.psnr.mean() > other.psnr.mean()
    assert 0 < np.nanmean(moved.away) < 2
    assert other.words[0] < moved.words[0] <= 1
    good = take_quality(a, stretches)
    assert good.asked == (1.0,)
    assert good.fidelity[0] > 20


@pytest.mark.slow
def test_the_bench_writes_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.live.render_study.CHUNKS", (2, 1, 2))
    monkeypatch.setattr("models.checkpoint.load.open_weights", lambda model, device: small_bundle())
    with pytest.raises(SystemExit) as ended:
        app(["--takes", "1", "--steps", "1,3", "--plots", str(tmp_path), "--json"])
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["figures"]["exact_at_live_steps"] is True
    assert set(report["figures"]["by_steps"]) == {"live", "1", "3", "another seed"}
    assert report["figures"]["frames"] == 1 + 12 * 2 + 1 + 12
    assert report["bars"][0]["holds"]
    page = (tmp_path / "render.md").read_text()
    assert "checked here too" in page
    assert "| 3 steps |" in page
    for name in ("render.png", "render.webp"):
        assert name in page
        assert 0 < (tmp_path / name).stat().st_size < 1_500_000


@pytest.mark.parametrize("text", ["", "0", "4,x", "51"])
def test_step_counts_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="--steps"):
        counts(text)
