"""Plots of the engine's figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

AGAINST, AGE, DRIFT, ENDLESS = (
    f"engine-{name}.png" for name in ("against-diffusers", "against-age", "drift", "endless")
)


def draw(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Every plot there are figures for, as PNG files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [folder / AGAINST, folder / AGE, folder / DRIFT]
    against_diffusers(figures, drawn[0])
    against_age(figures["age"], drawn[1])
    drifting(figures["age"]["drift"], drawn[2])
    if "endless" in figures:
        drawn.append(folder / ENDLESS)
        growing(figures["endless"], drawn[-1])
    return drawn


def against_diffusers(figures: dict[str, Any], path: Path) -> None:
    """Seconds a chunk against its index, for each model both ran."""
    models = [figures, *([figures["larger"]] if "larger" in figures else [])]
    with _plot(path, columns=len(models)) as rows:
        for axes, model in zip(rows, models, strict=True):
            ours, theirs = model["ours"]["transformer_by_chunk"], model["diffusers"]["transformer_by_chunk"]
            axes.plot(range(len(theirs)), theirs, "o-", label="diffusers' pipeline")
            axes.plot(range(len(ours)), ours, "o-", label="Farcast")
            axes.set(title=model["model"], xlabel="chunk", ylabel="transformer seconds a chunk", ylim=(0, None))
            axes.legend()


def against_age(age: dict[str, Any], path: Path) -> None:
    """Seconds a chunk along a long stream."""
    with _plot(path) as (axes,):
        seconds = age["seconds_by_chunk"]
        axes.plot(range(len(seconds)), seconds, linewidth=0.6)
        axes.set(
            xlabel="chunk", ylabel="seconds a chunk, decode included", ylim=(0, 2 * sorted(seconds)[len(seconds) // 2])
        )


def drifting(drift: dict[str, Any], path: Path) -> None:
    """Sharpness, contrast and colour against time."""
    curve = drift["curve"]
    minutes = [point["second"] / 60 for point in curve]
    with _plot(path, columns=3) as rows:
        for axes, name in zip(rows, ("sharpness", "contrast"), strict=False):
            axes.plot(minutes, [point[name] for point in curve])
            axes.set(xlabel="minutes of video", ylabel=name, ylim=(0, None))
        for channel, name in enumerate(("red", "green", "blue")):
            rows[2].plot(minutes, [point["colour"][channel] for point in curve], color=name)
        rows[2].set(xlabel="minutes of video", ylabel="mean colour", ylim=(0, 255))


def growing(endless: dict[str, Any], path: Path) -> None:
    """Memory of the process along an endless stream."""
    with _plot(path) as (axes,):
        axes.plot(endless["chunks"], [value / 1e6 for value in endless["memory"]], "o-")
        axes.set(xlabel="chunk", ylabel="memory of the process, MB", ylim=(0, None))


@contextmanager
def _plot(path: Path, columns: int = 1) -> Iterator[Any]:
    figure, axes = plt.subplots(1, columns, figsize=(5.2 * columns if columns < 3 else 11, 3.2), squeeze=False)
    yield axes[0]
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
