"""Plots of the engine's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Cost against age, ours and diffusers', and ours over a long stream; two PNG files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    ours, theirs = figures["ours"]["transformer_by_chunk"], figures["diffusers"]["transformer_by_chunk"]
    first, axes = plt.subplots(figsize=(6, 3.5))
    axes.plot(range(len(theirs)), theirs, "o-", label="diffusers' pipeline")
    axes.plot(range(len(ours)), ours, "o-", label="Farcast")
    axes.set(xlabel="chunk", ylabel="transformer seconds a chunk", ylim=(0, None))
    axes.legend()
    second, axes = plt.subplots(figsize=(6, 3.5))
    seconds = figures["age"]["seconds_by_chunk"]
    axes.plot(range(len(seconds)), seconds, linewidth=0.8)
    axes.set(xlabel="chunk", ylabel="seconds a chunk, decode included", ylim=(0, None))
    paths = []
    for figure, name in ((first, "engine-against-diffusers.png"), (second, "engine-against-age.png")):
        figure.tight_layout()
        figure.savefig(folder / name, dpi=120)
        plt.close(figure)
        paths.append(folder / name)
    return paths
