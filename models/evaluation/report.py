"""Reports of benches and of the evaluation: one JSON object, or the same as a table; thresholds (`Bar`)."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    "<": lambda value, bound: value < bound,
    "==": lambda value, bound: value == bound,
}


@dataclass(frozen=True)
class Bar:
    """A threshold and what was measured. A value that could not be measured (None, NaN) does not hold."""

    name: str
    value: float | None
    op: str
    bound: float

    @property
    def holds(self) -> bool:
        return self.value is not None and not math.isnan(self.value) and COMPARE[self.op](self.value, self.bound)

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "op": self.op, "bound": self.bound, "holds": self.holds}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }
    for package in ("torch", "aiortc"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)  # others on the machine make every figure worse
    return found


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def document(bench: str, figures: Mapping[str, Any], bars: Sequence[Bar]) -> dict[str, Any]:
    """The object every bench prints last."""
    return {
        "bench": bench,
        "machine": machine(),
        "figures": _known(dict(figures)),
        "bars": [_known(bar.document()) for bar in bars],
    }


def _known(value: Any) -> Any:
    """JSON has no NaN: what could not be measured is null."""
    if isinstance(value, dict):
        return {key: _known(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def show(bench: str, figures: Mapping[str, Any], bars: Sequence[Bar], *, as_json: bool) -> None:
    """Print it; the last thing a bench does."""
    report = document(bench, figures, bars)
    if as_json:
        print(json.dumps(report, default=float), flush=True)
    else:
        print(table(report), flush=True)
    sys.stdout.flush()


def table(report: Mapping[str, Any]) -> str:
    """For people."""
    lines = [f"farcast bench {report['bench']}", ", ".join(f"{k} {v}" for k, v in report["machine"].items()), ""]
    width = max([len(str(name)) for name in report["figures"]], default=0)
    lines += [f"  {name:<{width}}  {number(value)}" for name, value in report["figures"].items()]
    if report["bars"]:
        lines.append("")
    for bar in report["bars"]:
        verdict = "holds" if bar["holds"] else "FAILS"
        lines.append(f"  {verdict}  {bar['name']}: {number(bar['value'])} {bar['op']} {number(bar['bound'])}")
    return "\n".join(lines)


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
