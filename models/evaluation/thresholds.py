"""The thresholds a shipped checkpoint is held against, with what was measured, and the table of `farcast eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.evaluation.report import Bar

AT_FOUR = {"colour": 0.97, "background": 0.97, "shape": 0.90, "motion": 0.80}
AT_ONE = {"colour": 0.90}
ANALYSER = 0.95
SWITCH = 0.95
CONTINUES = 0.95


def bars(figures: Mapping[str, Any]) -> list[Bar]:
    """Every bar that the figures have a value for."""
    out: list[Bar] = []
    for kind, accuracy in figures.get("analyser", {}).items():
        worst = min(accuracy["accuracy"].values())
        out.append(Bar(f"analyser on {kind} clips, worst attribute", worst, ">=", ANALYSER))
    table = figures.get("t2v", {})
    for steps, wanted in (("4", AT_FOUR), ("1", AT_ONE)):
        for name, bound in wanted.items():
            if steps in table:
                out.append(Bar(f"{name} at {_steps(steps)}", table[steps][name]["value"], ">=", bound))
    for steps, gain in figures.get("against_4", {}).items():
        # Not worse beyond the error bar: the upper end of the paired difference's interval reaches 0.
        upper = gain["value"] + gain["error95"]
        out.append(Bar(f"quality at {_steps(steps)} less that at 4, with its error", upper, ">=", 0.0))
    colour = figures.get("switch", {}).get("colour")
    if colour:
        out.append(Bar("colour switch within 2 chunks, no jump", colour["good"]["value"], ">=", SWITCH))
    if "i2v" in figures:
        out.append(Bar("picture continues as itself", figures["i2v"]["continues"]["value"], ">=", CONTINUES))
    return out


def _steps(count: str) -> str:
    return f"{count} step" if count == "1" else f"{count} steps"


def table(figures: Mapping[str, Any], columns: Sequence[str] | None = None) -> str:
    """Text to video as a table, a line a step count, shares in per cent with their 95 % intervals."""
    rows = figures["t2v"]
    shares = ("colour", "background", "shape", "size", "motion", "all")
    means = {"fidelity": "dB", "sharpness": "sharp", "flicker": "flicker", "jerk": "jerk", "border_jerk": "border"}
    heads = ["steps", *shares, *means.values(), "s/chunk"]
    lines = ["  ".join(f"{head:>13}" if head in shares else f"{head:>7}" for head in heads)]
    for name in columns or rows:
        row = rows[name]
        cells = [f"{name:>7}"] + [f"{_share(row[key]):>13}" for key in shares]
        cells += [f"{row[key]['value']:>7.2f}" for key in means] + [f"{row['seconds_per_chunk']:>7.2f}"]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _share(cell: Mapping[str, float]) -> str:
    value, low, high = (round(100 * cell[key]) if cell[key] == cell[key] else -1 for key in ("value", "low", "high"))
    return f"{value:3d} ({low}-{high})"
