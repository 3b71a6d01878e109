"""The plots of docs/results: small PNG files, one question each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .study import Cell
from .traces import TRACES

BLUE, ORANGE, GREY, GREEN = "#2563eb", "#ea580c", "#9ca3af", "#16a34a"


def draw(figures: dict[str, Any], cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Writes all plots; returns their paths."""
    paths = [folder / f"governor-{name}.png" for name in ("traces", "tradeoff", "turns")]
    _traces(cells, paths[0])
    _tradeoff(figures["all"], paths[1])
    _prompts(figures["prompt_to_pixel"], paths[2])
    return paths


def _traces(cells: Sequence[Cell], path: Path) -> None:
    """Steps over time on one run of every trace: the governor, the naive controller, the optimum."""
    fig, axes = plt.subplots(3, 2, figsize=(10, 7), sharey=True, constrained_layout=True)
    for axis, name in zip(axes.flat, TRACES, strict=True):
        cell = next(c for c in cells if c.trace.name == name and c.target_ms == 1500 and c.trace.profile.name == "fine")
        naive, ours = cell.runs["reactive"], cell.runs["farcast"]
        axis.plot(naive.opened, naive.steps, color=ORANGE, lw=0.6, alpha=0.7, label="naive")
        if cell.best.feasible:
            axis.plot(ours.opened, cell.best.steps, color=GREY, lw=0.6, label="clairvoyant")
        axis.step(ours.opened, ours.steps, where="post", color=BLUE, lw=1.6, label="governor")
        for run, color in ((naive, ORANGE), (ours, BLUE)):
            late = [at for at, by in zip(run.opened, run.late, strict=True) if by > 0]
            axis.plot(late, [0.0] * len(late), "|", color=color, ms=9, mew=1.5)
        axis.set(title=name, xlim=(0, 120), ylim=(-0.5, 24))
    for axis in axes[:, 0]:
        axis.set_ylabel("steps of the chunk")
    for axis in axes[-1]:
        axis.set_xlabel("seconds  (ticks at the bottom: late chunks)")
    axes[0, 0].legend(loc="upper right", fontsize=8, ncols=3)
    _save(fig, path)


def _tradeoff(figures: dict[str, Any], path: Path) -> None:
    """Late chunks against steps, for every controller."""
    fig, axis = plt.subplots(figsize=(6.5, 4), constrained_layout=True)
    fixed = [row for name, row in figures.items() if name.startswith("fixed") and row["steps_of_best"] < 1.6]
    axis.plot([r["steps_of_best"] for r in fixed], [100 * r["misses"] for r in fixed], "o-", color=GREY, label="fixed")
    for name, color in (("reactive", ORANGE), ("paced", "#a16207"), ("stepwise", "#be123c"), ("farcast", BLUE)):
        row = figures[name]
        axis.plot(row["steps_of_best"], 100 * row["misses"], "o", color=color, ms=9)
        label = f" {'governor' if name == 'farcast' else name}\n {row['changes_per_minute']:.1f} changes/min"
        axis.annotate(label, (row["steps_of_best"], 100 * row["misses"]), fontsize=8, va="bottom")
    axis.plot(1.0, 0.0, "*", color=GREEN, ms=14, label="clairvoyant")
    axis.set(xlabel="mean steps / clairvoyant's", ylabel="late chunks, %", ylim=(-1, 45), xlim=(0.1, 1.6))
    axis.legend(loc="upper left")
    _save(fig, path)


def _prompts(figures: dict[str, Any], path: Path) -> None:
    """Prompt to pixel at the 90 % quantile, by target."""
    fig, axis = plt.subplots(figsize=(6.5, 4), constrained_layout=True)
    for (name, of), color in zip(figures.items(), (BLUE, ORANGE, GREEN, GREY), strict=True):
        targets = [key for key in of if key.endswith(" ms")]
        at = [float(key.split()[0]) / 1000 for key in targets]
        axis.plot(at, [of[key]["policy"]["p90_s"] for key in targets], "o-", color=color, label=f"{name}: policy")
        axis.plot(at, [of[key]["none"]["p90_s"] for key in targets], "o--", color=color, alpha=0.4)
    axis.plot([0, 3.2], [0, 3.2], color="black", lw=0.8, label="target (dashed: without a policy)")
    axis.set(xlabel="latency target, s", ylabel="prompt to pixel, p90, s", xlim=(0, 3.3), ylim=(0, 3.4))
    axis.legend(fontsize=8)
    _save(fig, path)


def _save(fig: Any, path: Path) -> None:
    fig.savefig(path, dpi=90)
    plt.close(fig)
