"""What `farcast bench governor` reports: figures and the bars they are held against."""

from __future__ import annotations

from typing import Any

from models.evaluation.report import Bar

from .study import DEVELOPMENT, HELD_OUT, TARGETS_MS, Cell, cells, company, prompt_to_pixel, summary
from .traces import CHUNK_S, TRACES

FULL_CHUNKS, QUICK_CHUNKS = 300, 160


def run(*, quick: bool = False) -> tuple[dict[str, Any], list[Bar], list[Cell]]:
    """(figures, bars, cells). Only held-out seeds are used."""
    seeds = HELD_OUT[:1] if quick else HELD_OUT
    chunks = QUICK_CHUNKS if quick else FULL_CHUNKS
    some = list(cells(seeds, chunks))
    over_all = summary(some)
    figures: dict[str, Any] = {
        "seeds": {"development": list(DEVELOPMENT), "used_here": list(seeds)},
        "video_seconds_per_run": chunks * CHUNK_S,
        "all": over_all,
        "by_trace": {name: _short(summary(c for c in some if c.trace.name == name)) for name in TRACES},
        "by_target_ms": {
            f"{target:.0f}": _short(summary(c for c in some if c.target_ms == target)) for target in TARGETS_MS
        },
        "prompt_to_pixel": prompt_to_pixel(seeds, TARGETS_MS),
        "company": company(seeds[0]),
        "lead_over_bound_s": round(max(c.runs["farcast"].over for c in some), 6),
    }
    return figures, bars(over_all), some


def bars(over_all: dict[str, Any]) -> list[Bar]:
    """The thresholds of the issue, measured."""
    ours, naive = over_all["farcast"], over_all["reactive"]
    changes = ours["changes_per_minute"] / max(naive["changes_per_minute"], 1e-9)
    return [
        Bar("deadline misses where none is possible", ours["misses"], "<", 0.01),
        Bar("mean steps / clairvoyant's", ours["steps_of_best"], ">=", 0.9),
        Bar("budget changes / naive controller's", round(changes, 4), "<=", 0.1),
    ]


def _short(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: row for name, row in figures.items() if not name.startswith("fixed")}
