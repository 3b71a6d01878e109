"""The whole examination runs on any checkpoint, random weights included, and what it prints can be read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint.bundle import Bundle
from models.errors import RequestError
from models.evaluation.contact_sheet import contact_sheet
from models.evaluation.judge.clip_metrics import measure_clip
from models.evaluation.judge.worker_pool import AnalyserPool
from models.evaluation.prompts import draw
from models.evaluation.suite import Plan, Result, examine
from models.evaluation.tasks import t2v, vbench
from models.evaluation.tasks.long_video import run as long_run
from models.evaluation.tasks.sampler import Sampler
from models.evaluation.thresholds import bars, table
from models.rollout.batch import batch_takes
from models.rollout.generate import generate

PLAN = Plan(steps=(1, 4, 8), prompts=2, starts=1, switches=1, selftests=0, minutes=0.0)


@pytest.fixture(scope="module")
def result(bundle: Bundle) -> Result:
    sampler = Sampler(bundle)
    return examine(sampler, PLAN, lambda text: None, {"student": Sampler(bundle, "renoise")})


@pytest.mark.slow  # the first of these pays for `result`
def test_figures_and_bars(result: Result) -> None:
    assert list(result.figures["t2v"]) == ["truth", "vae", "1", "4", "8"]
    assert result.figures["t2v"]["truth"]["all"]["value"] == 1.0
    assert result.figures["t2v"]["1"]["colour"]["n"] == 2
    names = [bar.name for bar in bars(result.figures)]
    assert "colour at 4 steps" in names
    assert "colour at 1 step" in names
    assert "quality at 8 steps less that at 4, with its error" in names
    assert "picture continues as itself" in names
    assert set(result.figures["rivals"]["student"]) == {"1", "4", "8"}
    json.dumps(result.figures)
    assert len(table(result.figures).splitlines()) == 6


@pytest.mark.slow  # the first of these pays for `result`
def test_pictures(result: Result, tmp_path: Path) -> None:
    from models.evaluation import plots

    sheet = contact_sheet(result.columns, result.tasks)
    assert sheet.width > 5 * 240
    plots.draw_steps(result.figures, tmp_path / "steps.png")
    plots.draw_rivals(result.figures, tmp_path / "curve.png")
    assert (tmp_path / "steps.png").stat().st_size > 10_000
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_long_run_covers_the_time_asked_for(bundle: Bundle) -> None:
    moments = long_run(Sampler(bundle), draw("long", 1, 0)[0], 1, 0.1, lambda text: None)
    assert [m.second for m in moments] == [1 / 16, 49 / 16]


def test_the_flow_map_sampler_is_the_generator(bundle: Bundle) -> None:
    sampler, task = Sampler(bundle), draw("t2v", 1, 0)[0]
    mine = sampler.clip(sampler.start(task.text, 3), 13, 2)
    theirs = np.concatenate(list(generate(bundle, prompt=task.text, frames=13, steps=2, seed=3)))
    assert np.array_equal(mine, theirs)
    assert sampler.borders(25) == [1, 13]


def test_renoising_is_another_sampler_but_for_one_step(bundle: Bundle) -> None:
    plain, other = Sampler(bundle), Sampler(bundle, "renoise")
    one = [m.clip(m.start("a red star", 1), 13, 1) for m in (plain, other)]
    assert np.array_equal(*one)
    three = [m.clip(m.start("a red star", 1), 13, 3) for m in (plain, other)]
    assert not np.array_equal(*three)


@pytest.mark.parametrize(("method", "guidance"), [("flowmap", None), ("renoise", None), ("flowmap", 2.5)])
def test_takes_made_together_are_the_takes_made_alone(bundle: Bundle, method: str, guidance: float | None) -> None:
    sampler = Sampler(bundle, method, guidance)
    prompts, seeds = ["a red star", "a ring that bounces off the walls", "blue"], [1, 2, 3]
    together = list(
        batch_takes(bundle, prompts, seeds, 27, 3, guidance=sampler.scale, renoise=method != "flowmap", rows=2)
    )
    for clip, prompt, seed in zip(together, prompts, seeds, strict=True):
        alone = sampler.clip(sampler.start(prompt, seed), 27, 3)
        assert clip.shape == alone.shape == (27, 64, 64, 3)
        assert np.abs(clip.astype(int) - alone).max() <= 2


@pytest.mark.slow
def test_clips_analysed_in_processes_have_the_same_figures() -> None:
    clip = next(t2v.truth_clips(draw("t2v", 1, 0), 0))
    with AnalyserPool(1) as pool:
        beside = pool.submit(measure_clip, clip, [1, 13]).result()
    here = measure_clip(clip, [1, 13])
    assert (beside.fidelity, beside.reading.shape) == (pytest.approx(here.fidelity, abs=1e-3), here.reading.shape)


def test_paired_difference() -> None:
    tasks = draw("t2v", 2, 0)
    real = t2v.truth_clips(tasks, 0)
    column = t2v.measure("4", real, [1, 13], lambda text: None, AnalyserPool(0))
    assert t2v.against(column, column, tasks) == {"value": 0.0, "error95": 0.0, "n": 2}


@pytest.mark.parametrize("change", [{"steps": ()}, {"steps": (0,)}, {"prompts": 0}, {"starts": -1}, {"minutes": -1.0}])
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        replace(PLAN, **change)


def test_vbench_layout(bundle: Bundle, tmp_path: Path) -> None:
    prompts = tmp_path / "color.txt"
    prompts.write_text("a red bird\n\na green bird, flying\na red bird\n")
    todo = list(vbench.videos(vbench.read_prompts(prompts), 0, 2))
    assert [video.name for video in todo] == [
        "a red bird-0.mp4", "a red bird-1.mp4", "a green bird, flying-0.mp4", "a green bird, flying-1.mp4",
    ]  # fmt: skip
    assert len({video.seed for video in todo}) == 4
    shapes = []

    def write(pixels: np.ndarray, path: Path) -> None:
        shapes.append(pixels.shape)
        path.write_bytes(b"x")

    folder = tmp_path / "out" / "color"
    (tmp_path / "out").mkdir()
    steady = vbench.make(Sampler(bundle), todo, folder, write, steps=1, frames=5, progress=lambda text: None)
    assert shapes == [(5, 64, 64, 3)] * 4
    assert all(0 < value <= 1 for value in steady)
    assert sorted(path.name for path in folder.iterdir()) == sorted(video.name for video in todo)  # and nothing else
    assert json.loads((tmp_path / "out" / "color.seeds.json").read_text())["seeds"]["a red bird-0.mp4"] == todo[0].seed
    (folder / todo[1].name).unlink()
    again = vbench.make(Sampler(bundle), todo, folder, write, steps=1, frames=5, progress=lambda text: None)
    assert len(again) == 1
    assert vbench.samples_for(Path("temporal_flickering.txt"), None) == 25
    assert vbench.samples_for(prompts, None) == 5


def test_vbench_lists_that_cannot_be_used(tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    for text in ("", "either/or"):
        bad.write_text(text)
        with pytest.raises(RequestError):
            vbench.read_prompts(bad)
    with pytest.raises(RequestError):
        vbench.read_prompts(tmp_path / "missing.txt")
    bad.unlink()
    with pytest.raises(RequestError):
        vbench.lists(tmp_path)
