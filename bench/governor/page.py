"""docs/results/governor.md, written by the bench itself from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.evaluation.report import Bar

FIXED = ("fixed 1", "fixed 2", "fixed 4", "fixed 6", "fixed 8", "fixed 12", "fixed 16")
NAMES = {"farcast": "governor", "reactive": "reactive (the naive one)"}


def write(figures: Mapping[str, Any], bars: Sequence[Bar], folder: Path, *, quick: bool) -> None:
    """The page, into `folder`, beside its plots."""
    (folder / "governor.md").write_text(page(figures, bars, quick=quick), encoding="utf-8")


def page(figures: Mapping[str, Any], bars: Sequence[Bar], *, quick: bool) -> str:
    """The figures in words, for people."""
    all_, seeds = figures["all"], figures["seeds"]
    option = "--quick " if quick else ""
    used, chosen = (", ".join(str(seed) for seed in seeds[key]) for key in ("used_here", "development"))
    lines = [
        "# The governor in simulation",
        "",
        f"`farcast bench governor {option}--json --plots docs/results` wrote this page (virtual clock: the machine",
        f"does not matter). Seeds {used}, held out: the rules were chosen on seeds {chosen}. {all_['runs']} runs of",
        f"{figures['video_seconds_per_run'] / 60:.3g} minutes of video: 6 traces x {len(figures['prompt_to_pixel'])} "
        f"devices x {len(figures['by_target_ms'])} latency targets x {len(seeds['used_here'])} seeds.",
        f"In {all_['without_a_miss_possible']} of them a schedule without a miss exists. What the words mean:",
        "[../governor.md](../governor.md).",
        "",
        "| bar | measured | asked | |",
        "|---|---|---|---|",
    ]
    for bar in bars:
        assert bar.value is not None
        unit, scale, digits = (" %", 100, 2) if bar.name.startswith("deadline") else ("", 1, 3)
        shown = f"{scale * bar.value:.{digits}f}{unit} | {bar.op} {scale * bar.bound:g}{unit}"
        lines.append(f"| {bar.name} | {shown} | {'holds' if bar.holds else '**fails**'} |")
    over = figures["lead_over_bound_s"]
    lines += [
        f"| lead over its bound, at the worst | {over:.2f} s | <= 0 | {'holds' if over <= 0 else '**fails**'} |",
        "",
        "| controller | misses | steps / best | steps | changes a minute | underruns an hour |",
        "|---|---|---|---|---|---|",
    ]
    for name in ("farcast", "reactive", "paced", "stepwise", *FIXED):
        if name in all_:
            lines.append(f"| {NAMES.get(name, name)} {_row(all_[name])}")
    lines += ["", *_against_paced(all_), "", "## Where it is good and where it is not", ""]
    lines += [*_parts("trace", figures["by_trace"], ""), "", *_parts("target", figures["by_target_ms"], " ms")]
    low = [
        f"{name}{unit} ({part['farcast']['steps_of_best']:.3f})"
        for key, unit in (("by_trace", ""), ("by_target_ms", " ms"))
        for name, part in figures[key].items()
        if part["farcast"]["steps_of_best"] < 0.9
    ]
    if low:
        lines += [
            "",
            f"The bar of 0.9 is over all; alone, {', '.join(low)} would miss it. With less than a burst's length in",
            "hand one has to step down when it strikes, having not known that it would.",
        ]
    lines += [
        "",
        "![Steps over time](governor-traces.png)",
        "![Late chunks against steps](governor-tradeoff.png)",
        "",
        "## Prompt to pixel",
        "",
        "Noisy trace, a prompt every 3-9 s; seconds, p50 / p90, **bold** where p90 is over the target. In brackets",
        "without a policy: a prompt takes effect with the next chunk, and everything made before is played first.",
        "",
        *_prompts(figures["prompt_to_pixel"]),
        "",
        "A target below the floor of a device cannot be met, and a small target with many prompts costs holds, as each",
        "turn throws the lead away.",
        "",
        "![Prompt to pixel](governor-turns.png)",
        "",
        "## Company",
        "",
        *_company(figures["company"]),
        "",
    ]
    return "\n".join(lines)


def _row(row: Mapping[str, float]) -> str:
    return (
        f"| {100 * row['misses']:.2g} % | {row['steps_of_best']:.3g} | {row['mean_steps']:.3g} "
        f"| {row['changes_per_minute']:.3g} | {_short(row['underruns_per_hour'])} |"
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _against_paced(all_: Mapping[str, Any]) -> list[str]:
    ours, paced = all_["farcast"], all_["paced"]
    changes = ours["changes_per_minute"] / max(paced["changes_per_minute"], 1e-9)
    steps = ours["steps_of_best"] / max(paced["steps_of_best"], 1e-9)
    verdict = "holds" if changes <= 0.1 else "would not hold"
    return [
        f"Against **paced**, a naive controller that somebody has already improved, the governor makes {changes:.2f}",
        f"times as many changes, with {steps:.2f} times its steps: the bar of one tenth {verdict} against that one.",
        "(A ratio over 1 means steps bought with misses.)",
    ]


def _parts(what: str, parts: Mapping[str, Any], unit: str) -> list[str]:
    lines = [
        f"| {what} | misses | steps / best | steps | changes a minute | naive's | paced's |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, part in parts.items():
        ours = part["farcast"]
        others = " | ".join(f"{part[key]['changes_per_minute']:.0f}" for key in ("reactive", "paced"))
        lines.append(
            f"| {name}{unit} | {100 * ours['misses']:.2g} % | {ours['steps_of_best']:.3f} | {ours['mean_steps']:.3g} "
            f"| {ours['changes_per_minute']:.1f} | {others} |"
        )
    return lines


def _prompts(devices: Mapping[str, Any]) -> list[str]:
    targets = [key for key in next(iter(devices.values())) if key.endswith(" ms")]
    lines = ["| device | floor | " + " | ".join(targets) + " |", "|---" * (len(targets) + 2) + "|"]
    for name, of in devices.items():
        cells = []
        for target in targets:
            ours, none = of[target]["policy"], of[target]["none"]
            p90 = f"{ours['p90_s']:.2f}"
            late = ours["p90_s"] > float(target.split()[0]) / 1000
            cells.append(
                f"{ours['p50_s']:.2f} / {f'**{p90}**' if late else p90} ({none['p50_s']:.2f} / {none['p90_s']:.2f})"
            )
        lines.append(f"| {name} | {of['floor_s']:.2f} | {' | '.join(cells)} |")
    return lines


def _company(company: Mapping[str, Any]) -> list[str]:
    steps = ", ".join(
        f"{value:.1f} with {name.removesuffix(' on the device')}"
        for name, value in company["first_session_mean_steps"].items()
    )
    late = sum(session["misses"] for session in company["sessions"])
    return [
        "Medium device, noisy: a second session comes after 30 s, a third after 60 s; they leave at 90 s and 120 s.",
        f"Steps of the first: {steps}. Late chunks, all together: {late}.",
    ]
