"""docs/results/turns.md and its plot, written by the bench itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from models.evaluation.report import Bar, number

from .prompt_latency import Turn

START, END = "<!-- measured -->", "<!-- /measured -->"  # what people wrote around it stays


def write(found: Sequence[Turn], figures: Mapping[str, Any], bars: Sequence[Bar], where: Mapping[str, Any],
          folder: Path) -> None:  # fmt: skip
    """The page and the plot, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw(found, folder / "turns.png")
    path = folder / "turns.md"
    old = path.read_text(encoding="utf-8") if path.exists() else f"# Prompt to pixel, measured\n\n{START}\n{END}\n"
    head, _, rest = old.partition(START)
    tail = rest.partition(END)[2]
    path.write_text(f"{head}{START}\n{page(figures, bars, where)}\n{END}{tail}", encoding="utf-8")


def draw(found: Sequence[Turn], path: Path) -> None:
    """Every turn as a dot: how long until it was seen, and how much of that was the server's."""
    fig, axis = plt.subplots(figsize=(7, 3.6), constrained_layout=True)
    targets = sorted({turn.target_ms for turn in found})
    for row, target in enumerate(targets):
        some = [turn for turn in found if turn.target_ms == target]
        axis.plot([target, target], [row - 0.35, row + 0.35], color="#be123c", lw=2)
        for i, turn in enumerate(some):
            height = row - 0.25 + 0.5 * i / max(1, len(some) - 1)
            if turn.server_ms is not None and turn.seen_ms is not None:
                axis.plot([turn.server_ms, turn.seen_ms], [height, height], color="#93c5fd", lw=1)
                axis.plot(turn.seen_ms, height, "o", ms=4, color="#2563eb")
                axis.plot(turn.server_ms, height, "|", ms=6, color="#6b7280")
    axis.set(yticks=range(len(targets)), yticklabels=[f"{t:.0f} ms" for t in targets], xlim=(0, None))
    axis.set_xlabel("ms from Enter: dot = seen on screen, tick = left the playout clock, red = the target")
    fig.savefig(path, dpi=90)
    plt.close(fig)


def page(figures: Mapping[str, Any], bars: Sequence[Bar], where: Mapping[str, Any]) -> str:
    """The figures in words, for people."""
    lines = [
        "`farcast bench prompt-latency --json --plots docs/results` wrote this part: the page in headless Chromium on",
        "the server's machine, prompts typed into it at random moments, the mean colour of every presented frame read",
        "back. *Seen*: a quarter of the way from the old colour to the new. *Server*: from the prompt's arrival to its",
        "first frame's leaving the playout clock.",
        "",
        ", ".join(f"{key} {value}" for key, value in where.items()),
        "",
        "| target | prompts | seen p50 | **seen p90** | worst | server p50 / p90 | steps of the first chunk | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    holds = {bar.name: bar.holds for bar in bars}
    for target, row in figures["targets"].items():
        verdict = "holds" if holds.get(f"seen within {target} ms, p90") else "**fails**"
        counts = [steps for steps in row["steps"] if steps is not None]
        steps = f"{min(counts)} to {max(counts)}" if counts else "unknown"
        server = f"{number(row['server_p50_ms'])} / {number(row['server_p90_ms'])}"
        seen = f"{row['prompts']} | {number(row['p50_ms'])} | **{number(row['p90_ms'])}** | {number(row['worst_ms'])}"
        lines.append(f"| {target} ms | {seen} | {server} | {steps} | {verdict} |")
    units = ", ".join(f"{kind} {number(ms)}" for kind, ms in figures["units_ms"].items())
    lines += [
        "",
        f"Physical floor here: {number(figures['floor_ms'])} ms = a prompt encode, a context encode, one step and one",
        f"decode at their mean costs (ms: {units}),",
        f"and {number(figures['delivery_ms'])} ms of delivery (encode, network, jitter buffer, paint: the median of",
        "seen less server). A unit that is running when the prompt comes adds to it.",
        "",
        "![Every turn](turns.png)",
    ]
    return "\n".join(lines)
