"""`farcast bench sessions`: several sessions at once, one more than the machine can bear, and one fewer again."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.live.probe import Watched
from bench.live.saturation import Company, measure
from bench.live.server_process import serving
from models.evaluation.report import Bar, machine, show

app = typer.Typer(add_completion=False)

CUT = 0.5  # of the difference between unrelated pictures; a change of scene from one frame to the next is about 1
WARM_S = 3.0  # after somebody came or left, in which the budgets find their new place


@app.command("sessions")
def sessions(
    model: Annotated[str | None, typer.Option(help="Checkpoint; left out = the embedded model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seconds: Annotated[float, typer.Option(min=5.0, help="How long each number of sessions is watched.")] = 20.0,
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in under a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for the page (sessions.md) and its plot.")] = None,
) -> None:
    """1, 2, 3 ... sessions with a WebRTC viewer each until one is refused, then one leaves. Does everybody keep up?"""
    seen = asyncio.run(run(model, device, 8.0 if quick else seconds))
    figures, bars = judge(seen)
    if plots is not None:
        from bench.live.saturation_page import write

        write(seen, figures, bars, machine(), plots)
    show("sessions", figures, bars, as_json=as_json)


async def run(model: str | None, device: str, phase_s: float) -> Company:
    """Start a server and fill it. Raises EngineFailed when it does not start."""
    async with serving("--device", device, *(["--model", model] if model else [])) as server:
        async with asyncio.timeout(12 * phase_s + 120):
            return await measure(server.url, phase_s=phase_s)


def judge(seen: Company) -> tuple[dict[str, Any], list[Bar]]:
    """Figures and the issue's bars."""
    unrelated = statistics.median(seen.unrelated) if seen.unrelated else None
    phases: list[dict[str, Any]] = [
        {
            "sessions": count,
            "steps": [_round(s.steps(start + WARM_S, end)) for s in seen.sessions[:count]],
            "engine_realtime_factor": [_round(s.factor(start, end)) for s in seen.sessions[:count]],
        }
        for count, start, end in seen.phases
    ]
    first = [phase["steps"][0] for phase in phases]
    refusal = seen.refusal
    figures: dict[str, Any] = {
        "sessions_admitted": len(seen.sessions),
        "phases": phases,
        "steps_of_the_first": first,
        "sessions": [_of(s, unrelated) for s in seen.sessions],
        "unrelated_pictures_differ_by": _round(unrelated),
        "refusal": None if refusal is None else refusal.__dict__,
    }
    filling = first[:-1] if len(first) > 1 else first
    falls = [b / a for a, b in itertools.pairwise(filling) if a and b]
    back = first[-1] / first[-2] if len(first) > 2 and first[-1] and first[-2] else None
    factors = [f for phase in phases for f in phase["engine_realtime_factor"] if f is not None]
    bars = [
        Bar("sessions admitted", float(len(seen.sessions)), ">=", 3),
        # Frames leave by a clock, so 1 cannot be passed; see `bench live`.
        Bar("realtime_factor delivered, worst session", _least(s.delivered() for s in seen.sessions), ">=", 0.99),
        Bar("realtime_factor of the engine, worst session and phase", min(factors, default=None), ">=", 1.0),
        # Not more. Equal where the device has time to spare, or the budget is at its floor or ceiling already.
        Bar("steps when one comes / before, worst", max(falls, default=None), "<=", 1.0),
        Bar("steps when one leaves / before", _round(back), ">=", 1.0),
        Bar("largest change between two frames / a scene cut", _most(s["change_of_a_cut"] for s in figures["sessions"]),
            "<", CUT),
        Bar("underruns after the first two seconds", float(sum(s.late_underruns for s in seen.sessions)), "<=", 0.0),
        Bar("refusal: HTTP status", float(refusal.status) if refusal else None, "==", 503.0),
        Bar("refusal: Retry-After, s", refusal.retry_after if refusal else None, ">", 0.0),
        Bar("refusal: length of its reason", float(len(refusal.reason)) if refusal else None, ">", 0.0),
    ]  # fmt: skip
    return figures, bars


def _of(s: Watched, unrelated: float | None) -> dict[str, Any]:
    worst = s.worst_change()
    return {
        "name": s.name,
        "frames": len(s.times),
        "realtime_factor": _round(s.delivered(), 4),
        "underruns": len(s.underruns),
        "underruns_after_2s": s.late_underruns,
        "change_median": _round(statistics.median(s.changes)) if s.changes else None,
        "change_worst": _round(worst),
        "change_of_a_cut": None if worst is None or not unrelated else _round(worst / unrelated),
    }


def _round(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def _least(values: Any) -> float | None:
    some = list(values)
    return None if not some or None in some else min(some)


def _most(values: Any) -> float | None:
    some = [value for value in values if value is not None]
    return max(some, default=None)
