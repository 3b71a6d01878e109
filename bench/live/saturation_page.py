"""docs/results/sessions.md and its plot, written by the bench itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from models.evaluation.report import Bar, number

from .saturation import Company

COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#be123c", "#0891b2", "#a16207", "#4b5563")


def write(
    seen: Company, figures: Mapping[str, Any], bars: Sequence[Bar], where: Mapping[str, Any], folder: Path
) -> None:
    """The page and the plot, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    draw(seen, folder / "sessions.png")
    (folder / "sessions.md").write_text(page(figures, bars, where), encoding="utf-8")


def draw(seen: Company, path: Path) -> None:
    """Steps and lead of every session over time."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, constrained_layout=True)
    for session, colour in zip(seen.sessions, COLOURS, strict=False):
        at = [when - seen.began for when, _ in session.chunks]
        top.step(at, [c.steps for _, c in session.chunks], where="post", color=colour, lw=1.3, label=session.name)
        bottom.plot(at, [c.lead_ms / 1e3 for _, c in session.chunks], color=colour, lw=1)
        bottom.plot(
            [u - seen.began for u in session.underruns], [0.0] * len(session.underruns), "|", color=colour, ms=12
        )
    for count, start, _ in seen.phases:
        for axis in (top, bottom):
            axis.axvline(start - seen.began, color="#d1d5db", lw=0.8, zorder=0)
        top.text(start - seen.began + 0.3, top.get_ylim()[1], f"{count}", va="top", fontsize=9, color="#6b7280")
    top.set(ylabel="steps of a chunk", ylim=(0, None))
    top.legend(fontsize=8, loc="upper right")
    bottom.set(
        ylabel="lead, s", xlabel="seconds (numbers: sessions there; ticks at the bottom: underruns)", ylim=(-0.1, None)
    )
    fig.savefig(path, dpi=90)
    plt.close(fig)


def page(figures: Mapping[str, Any], bars: Sequence[Bar], where: Mapping[str, Any]) -> str:
    """The figures in words, for people."""
    lines = [
        "# Several sessions at once, measured",
        "",
        "`farcast bench sessions --json --plots docs/results` wrote this page: the server as `farcast serve` starts",
        "it, one WebRTC viewer a session on the same machine, sessions coming one by one until one is refused, then",
        "one leaving.",
        "What decides: [../governor.md](../governor.md).",
        "",
        ", ".join(f"{key} {value}" for key, value in where.items()),
        "",
        "| bar | measured | asked | |",
        "|---|---|---|---|",
    ]
    for bar in bars:
        verdict = "holds" if bar.holds else "**fails**"
        lines.append(f"| {bar.name} | {number(bar.value)} | {bar.op} {number(bar.bound)} | {verdict} |")
    lines += ["", "| sessions there | steps of each | engine's realtime factor of each |", "|---|---|---|"]
    for phase in figures["phases"]:
        steps, factors = (", ".join(number(v) for v in phase[key]) for key in ("steps", "engine_realtime_factor"))
        lines.append(f"| {phase['sessions']} | {steps} | {factors} |")
    lines += [
        "",
        "| session | frames | delivered / due | underruns (after 2 s) | largest change / a cut |",
        "|---|---|---|---|---|",
    ]
    for s in figures["sessions"]:
        under = f"{s['underruns']} ({s['underruns_after_2s']})"
        rest = f"{number(s['realtime_factor'])} | {under} | {number(s['change_of_a_cut'])}"
        lines.append(f"| {s['name']} | {s['frames']} | {rest} |")
    refusal = figures["refusal"]
    if refusal is not None:
        lines += ["", f"The next one was told, with status {refusal['status']}: *{refusal['reason']}*"]
        lines[-1] += f" (Retry-After {number(refusal['retry_after'])} s)."
    lines += [
        "",
        "*delivered / due*: frames that came to frames that the clock asks for in that time, from two seconds after",
        "the first. *a cut*: what pictures of different sessions differ by; a change of scene would be about 1.",
        "*engine's realtime factor*: video made to the time it took, waiting for room in the queue not counted.",
        "",
        "![Steps and lead over time](sessions.png)",
        "",
    ]
    return "\n".join(lines)
