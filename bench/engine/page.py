"""The engine's figures as a page for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from models.evaluation.report import Bar

from .plots import AGAINST, AGE, DRIFT, ENDLESS


def write_page(figures: Mapping[str, Any], bars: Sequence[Bar], machine: str, command: str) -> str:
    """Markdown, with the plots that `plots.draw` puts beside it."""
    width, height = figures["size"]
    models = [figures, *([figures["larger"]] if "larger" in figures else [])]
    profile, age, slid = figures["profile"], figures["age"], figures["slid_window_deviation"]
    drift = age["drift"]
    lines = [
        "# The engine, measured",
        "",
        f"`{command}` wrote this page. {machine}; {figures['threads']} thread(s).",
        "On a CPU all seconds are processor seconds: other programs matter only by the caches and cores they share.",
        "",
        "| bar | measured | asked | |",
        "|---|---|---|---|",
        *(
            f"| {bar.name} | {_figure(math.nan if bar.value is None else bar.value)} | {bar.op} {bar.bound:g} | "
            f"{'holds' if bar.holds else '**fails**'} |"
            for bar in bars
        ),
        "",
        "## Against diffusers' own pipeline",
        "",
        "One process, the same weights, noise, prompt and guidance, both warmed up; prompt and decoding included.",
        "",
        "| model | size | frames | guidance | ours | diffusers | ratio | largest relative difference |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {m['model']} | {m['size'][0]}x{m['size'][1]} | {m['frames']} | {m['guidance']:g} | "
            f"{m['ours']['seconds']:.2f} s (decode {m['ours']['by_kind']['decode']:.2f}) | "
            f"{m['diffusers']['seconds']:.2f} s (decode {m['diffusers']['decode']:.2f}) | "
            f"{m['times_faster']:.1f}x | {m['parity_error']:.1e} |"
            for m in models
        ),
        "",
        f"![seconds a chunk against its index]({AGAINST})",
        "",
        "## Where the time goes",
        "",
        f"One chunk of a full window, {figures['model']} at {width}x{height}, {figures['steps']} steps. The machine's",
        f"matrix rate, measured in the same process: {figures['matmul_flops'] / 1e9:.0f} GFLOP/s.",
        "",
        "| unit | times | seconds each | GFLOP each | of the matrix rate |",
        "|---|---|---|---|---|",
        *(
            f"| {kind} | {unit['calls']} | {unit['seconds']:.4f} | {unit['flops'] / 1e9:.2f} | "
            f"{unit['share_of_matmul_rate']:.0%} |"
            for kind, unit in profile["units"].items()
        ),
        f"| chunk | | {profile['seconds']:.3f} | {profile['flops'] / 1e9:.2f} | "
        f"{profile['share_of_matmul_rate']:.0%} |",
        "",
        "By operation: "
        + ", ".join(f"{share:.0%} {kind}" for kind, share in profile["operations"].items() if share >= 0.005)
        + ".",
        "",
        "## Against its own age",
        "",
        f"| | chunk {age['chunks'][0]} | chunk {age['chunks'][1]} |",
        "|---|---|---|",
        f"| seconds (median of nine) | {age['seconds'][0]:.3f} | {age['seconds'][1]:.3f} |",
        f"| floating-point operations | {age['flops'][0]:,} | {age['flops'][1]:,} |",
        f"| memory of the process | {age['memory'][0] / 1e6:.0f} MB | {age['memory'][1] / 1e6:.0f} MB |",
        "",
        f"![seconds a chunk along the stream]({AGE})",
        "",
        "## Without end",
        "",
    ]
    if "endless" in figures:
        held = figures["endless"]
        lines += [
            f"{held['chunks'][-1]} chunks of {held['model']} at {held['size'][0]}x{held['size'][1]}: memory "
            f"{held['memory'][0] / 1e6:.0f} MB after {held['chunks'][0]}, {held['memory'][-1] / 1e6:.0f} MB at last.",
            f"The chunk in progress never stood past latent frame {held['last_position']} of the "
            f"{held['trained_positions']} the model is trained on.",
            "",
            f"![memory along the stream]({ENDLESS})",
            "",
        ]
    lines += [
        f"The picture from second {drift['seconds'][0]:.0f} to second {drift['seconds'][1]:.0f} of video, means over "
        f"ten seconds: sharpness x{drift['sharpness']:.2f},",
        f"contrast x{drift['contrast']:.2f}, mean colour moved by {drift['colour']:.1f} of 255 at most in a channel.",
        "",
        f"![sharpness, contrast and colour against time]({DRIFT})",
        "",
        "## What the slid window costs",
        "",
        "A chunk made from a window that has slid, against the same chunk from that window encoded anew: relative RMS",
        f"of the latents of chunk 13, {figures['steps']} steps. `exact` is the default.",
        "",
        "| mode of the append | deviation |",
        "|---|---|",
        f"| exact: far chunks encoded again when the window slides | {slid['exact']:.1e} |",
        f"| rolling: their K/V kept and rotated | {slid['rolling']:.1e} |",
        f"| cheap: the older near chunk keeps its K/V too | {slid['cheap']:.1e} |",
        "",
    ]
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
