"""Plots: quality against steps with error bars, and the long video against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no display is needed to write a file
from matplotlib import pyplot as plt

from models.evaluation.judge.analyser import ATTRIBUTES
from models.evaluation.tasks.long_video import Moment

_PANELS = {
    "fidelity": "fidelity to the world, dB",
    "sharpness": "sharpness, truth = 1",
    "flicker": "flicker, levels",
    "jerk": "jerk, pixels a frame²",
}


def draw_steps(figures: Mapping[str, Any], path: Path) -> None:
    """Attributes recognised, and four metrics of the picture, at each step count."""
    table = figures["t2v"]
    counts = [name for name in table if name.isdigit()]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(1.1, 1))
    for name in ATTRIBUTES:
        values = [table[c][name]["value"] for c in counts]
        errors = [
            [max(0.0, v - table[c][name]["low"]) for c, v in zip(counts, values, strict=True)],
            [max(0.0, table[c][name]["high"] - v) for c, v in zip(counts, values, strict=True)],
        ]
        axes[0].errorbar(_places(counts), values, yerr=errors, marker="o", capsize=3, label=name)
    axes[0].set(ylim=(0, 1.03), ylabel="recognised (95 % interval)", title=f"{figures['model']}: attributes asked for")
    axes[0].legend(loc="lower right")
    _steps_axis(axes[0], counts)
    grid = axes[1].get_subplotspec().subgridspec(2, 2)
    axes[1].remove()
    for place, (name, title) in enumerate(_PANELS.items()):
        panel = figure.add_subplot(grid[place // 2, place % 2])
        errors = [table[c][name]["error"] for c in counts]
        panel.errorbar(_places(counts), [table[c][name]["value"] for c in counts], yerr=errors, marker="o", capsize=3)
        for row, style in (("truth", ":"), ("vae", "--")):
            if row in table and (row, name) != ("truth", "fidelity"):  # of the truth against itself it says nothing
                panel.axhline(table[row][name]["value"], linestyle=style, color="grey", label=row)
        panel.set_title(title, fontsize=9)
        _steps_axis(panel, counts)
        if place == 0:
            panel.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_rivals(figures: Mapping[str, Any], path: Path) -> None:
    """Mean quality of several checkpoints against steps."""
    tables = {figures["model"]: figures["t2v"], **figures["rivals"]}
    figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    counts: list[str] = []
    for name, table in tables.items():
        counts = [c for c in table if c.isdigit()]
        values = [table[c]["quality"]["value"] for c in counts]
        errors = [1.96 * table[c]["quality"]["error"] for c in counts]
        axes.errorbar(_places(counts), values, yerr=errors, marker="o", capsize=3, label=name)
    axes.set(ylabel="attributes asked for that are there (95 %)", title="Quality against steps")
    axes.legend()
    _steps_axis(axes, counts)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_comparison(figures: Mapping[str, Any], path: Path) -> None:
    """Quality and fidelity of several checkpoints against steps, with 95 % error bars."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    counts = [str(count) for count in figures["steps"]]
    titles = {"quality": "attributes asked for that are there", "fidelity": "fidelity to the world, dB"}
    for panel, (kind, title) in zip(axes, titles.items(), strict=True):
        for place, (name, part) in enumerate(figures["checkpoints"].items()):
            values = [part["t2v"][c][kind]["value"] for c in counts]
            errors = [1.96 * part["t2v"][c][kind]["error"] for c in counts]
            sampler = "" if part["sampler"] == "flowmap" else f", {part['sampler']}"
            guidance = "" if part["guidance"] == 1 else f", guidance {part['guidance']:g}"
            # A little apart, so that error bars do not hide each other.
            where = [int(c) * 1.03 ** (place - len(figures["checkpoints"]) / 2) for c in counts]
            label = f"{name}{sampler}{guidance}"
            panel.errorbar(where, values, yerr=errors, marker="o", markersize=4, capsize=2, label=label)
        panel.set_title(title, fontsize=10)
        _steps_axis(panel, counts)
        panel.set_xlabel("steps")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_long(moments: Sequence[Moment], path: Path) -> None:
    """Quality, fidelity and sharpness along the long video."""
    figure, axes = plt.subplots(3, 1, figsize=(8, 5.4), sharex=True, layout="constrained")
    seconds = [m.second for m in moments]
    for panel, name in zip(axes, ("quality", "fidelity", "sharpness"), strict=True):
        panel.plot(seconds, [getattr(m, name) for m in moments])
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
    axes[0].set_ylim(0, 1.05)
    axes[-1].set_xlabel("seconds of video")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _places(counts: Sequence[str]) -> list[int]:
    return [int(c) for c in counts]


def _steps_axis(axes: Any, counts: Sequence[str]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(_places(counts), counts)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
