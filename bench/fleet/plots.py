"""The plot of the placement study: the workers' loads under every policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from .simulation import Figures

COLOURS = {"best of a few": "#2563eb", "random": "#9ca3af", "least sessions": "#ea580c"}


def draw(figures: Sequence[Figures], path: Path) -> None:
    """Writes a PNG: the share of workers below each load, at the end of the run."""
    fig, axis = plt.subplots(figsize=(6.5, 4), constrained_layout=True)
    for one in figures:
        share = np.linspace(0, 100, len(one.loads))
        axis.plot(one.loads, share, color=COLOURS[one.policy], lw=1.8, label=f"{one.policy}: {one.micros:.0f} µs")
    axis.axvline(0.9, color="black", lw=0.8, ls=":")
    axis.set(xlabel="load of a worker (dotted: what admission allows)", ylabel="% of workers below")
    axis.legend(fontsize=9)
    fig.savefig(path, dpi=110)
    plt.close(fig)
