"""Pictures and pages of what the lab measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .page import put, table, where

INK = ("#1f6feb", "#d1602a", "#2f9e44", "#8250df")


def draw_transport(figures: dict[str, Any], folder: Path) -> None:
    """`transport.png`: the times to the eye, and what viewers cost."""
    figure, (left, right) = _axes(2)
    left.hist(figures["latencies_ms"], bins=40, color=INK[0])
    left.axvline(figures["glass_to_glass_ms_median"], color="black", lw=1)
    left.axvline(figures["glass_to_glass_ms_p95"], color="black", lw=1, ls="--")
    left.set(title="Glass to glass: median and p95", xlabel="ms from the playout clock to the eye", ylabel="frames")
    for rows, name, ink in (
        (figures["encode_each"], "an encoder for each (MediaRelay)", INK[1]),
        (figures["encode_once"], "encoded once", INK[0]),
    ):
        viewers = [row["viewers"] for row in rows]
        right.plot(viewers, [row["ms_a_frame_and_viewer"] for row in rows], "o-", color=ink, label=name)
    right.set(title="What a viewer costs", xlabel="viewers of one session", ylabel="CPU ms a frame and viewer")
    right.set_yscale("log")
    right.legend()
    _save(figure, folder / "transport.png")


def transport_page(figures: dict[str, Any], machine: dict[str, object], folder: Path) -> None:
    rows: list[list[object]] = []
    for once, each in zip(figures["encode_once"], figures["encode_each"], strict=True):
        rows.append(
            [
                once["viewers"],
                f"{once['cpu_percent']} %",
                once["fps_a_viewer"],
                once["ms_a_frame_and_viewer"],
                f"{each['cpu_percent']} %",
                each["fps_a_viewer"],
                each["ms_a_frame_and_viewer"],
            ]
        )
    encode = [[size, cost["convert"], cost["VP8"], cost["H264"]] for size, cost in figures["encode_ms"].items()]
    put(
        folder,
        "transport",
        f"""## To the eye, and what viewers cost

```sh
farcast bench transport --plots docs/results    # Linux, with a Chromium; three minutes
```

{where(machine)} Picture {figures["size"]} at 16 fps over loopback.

![how long a frame takes to the eye, and what a viewer costs](transport.png)

- **Glass to glass** (a frame leaves the playout clock; its number is read back from the browser's `<video>` in
  `requestVideoFrameCallback`):
  median **{figures["glass_to_glass_ms_median"]} ms**, p95 **{figures["glass_to_glass_ms_p95"]} ms**, over
  {figures["frames_shown"]} frames ({figures["fps_shown"]} fps shown, {figures["frames_unreadable"]} unreadable, longest
  gap {figures["longest_gap_ms"]} ms).
- **A late joiner's first picture**, from `new RTCPeerConnection()` to the first frame shown, in a new tab: median
  **{figures["join_ms_median"]} ms** ({", ".join(str(ms) for ms in figures["join_ms"])}).
- **One more viewer** costs {figures["once_ms_a_viewers_frame"]} ms of processor time a frame, against
  {figures["each_ms_a_viewers_frame"]} ms with an encoder of its own: **{figures["each_over_once"]} times** as much
  (slope from 1 to {figures["compared_upto_viewers"]} viewers, the most for which this machine manages to encode each).

{
            table(
                [
                    "viewers",
                    "CPU, encoded once",
                    "fps each gets",
                    "ms a frame and viewer",
                    "CPU, encoded for each",
                    "fps each gets",
                    "ms a frame and viewer",
                ],
                rows,
            )
        }

CPU is the server process alone (the pattern is painted by the engine process, the viewers have one of their own). The
comparison is aiortc's `MediaRelay` with aiortc's VP8 encoder for every connection, in a program that does nothing else;
where it cannot keep up, its viewers get fewer frames.

Encoding one frame (processor time, ms):

{table(["size", "colour conversion", "VP8", "H.264"], encode)}
""",
    )


def trouble_page(figures: dict[str, Any], machine: dict[str, object], folder: Path) -> None:
    rows = []
    for name, one in figures["scenarios"].items():
        seen, other = one["viewer"], one["other"]
        rows.append(
            [
                name,
                f"{seen['frames_percent']} %",
                f"{seen['freezes']} ({seen['frozen_s']} s)",
                f"{seen['longest_gap_ms']} ms",
                f"{seen['latency_ms_median']} / {seen['latency_ms_p95']} ms" if seen["frames_percent"] else "none seen",
                seen["kbit_s"],
                ", ".join(f"{key} {rate}" for key, rate in one["rates_kbit_s"].items()),
                f"{seen['recovery_s']} s",
                f"{other['frames_percent']} %, {other['freezes']}, {other['latency_ms_p95']} ms",
            ]
        )
    head = [
        "network",
        "frames shown",
        "freezes (total)",
        "longest gap",
        "latency, median / p95",
        "kbit/s received",
        "encodings, kbit/s",
        "up to date again after",
        "the other viewer: frames, freezes, p95",
    ]
    tbf = any("tbf" in name for name in figures["scenarios"])
    kernel = (
        "The row with tbf is the kernel's own token bucket, the viewer in a network namespace behind it."
        if tbf
        else "Network namespaces were not to be had on this machine, so the bottleneck is the relay's own token bucket."
    )
    put(
        folder,
        "impairments",
        f"""## One viewer in trouble

```sh
farcast bench impairments --plots docs/results    # Linux, with a Chromium; three minutes
```

{where(machine)} Picture {figures["size"]} at 16 fps, VP8, two Chromium tabs on one session. One of them watches through
a UDP relay that loses, delays and holds back packets (both ways; the bottleneck only towards the viewer, with a queue
of 200 ms); the other one is left alone. {kernel} Frames shown: of those that left during the trouble, however late. A
freeze is a gap of more than {212} ms. Recovery counts from the end of the trouble to the first frame that left after it
and is under {400} ms old.

{table(head, rows)}
""",
    )


def draw_soak(figures: dict[str, Any], folder: Path) -> None:
    """`soak.png`: memory, and threads and files, over both runs."""
    figure, axes = _axes(2)
    for axis, rows, scale, label in (
        (axes[0], figures["coming"], 1.0, "viewers that came and went"),
        (axes[1], figures["staying"], 60.0, "minutes with one viewer"),
    ):
        at = [row["at"] / scale for row in rows]
        axis.plot(at, [row["memory_mb"] for row in rows], color=INK[0], label="memory, MB")
        axis.set(xlabel=label, ylabel="MB resident", ylim=(0, 1.3 * max(row["memory_mb"] for row in rows)))
        counts = axis.twinx()
        counts.plot(at, [row["threads"] for row in rows], color=INK[1], label="threads")
        counts.plot(at, [row["files"] for row in rows], color=INK[2], label="open files")
        counts.set(ylim=(0, 2.5 * max(row["files"] for row in rows)))
        axis.legend(loc="lower left")
        counts.legend(loc="lower right")
    _save(figure, folder / "soak.png")


def soak_page(figures: dict[str, Any], machine: dict[str, object], folder: Path) -> None:
    coming, staying = figures["coming"], figures["staying"]
    rows = [
        [name, coming[0][key], coming[-1][key], staying[0][key], staying[-1][key]]
        for name, key in (
            ("memory, MB", "memory_mb"),
            ("of it handed out by malloc, MB", "allocated_mb"),
            ("threads", "threads"),
            ("open files", "files"),
            ("asyncio tasks", "tasks"),
            ("Python objects", "objects"),
        )
    ]
    put(
        folder,
        "soak",
        f"""## Does it stay as it is?

```sh
farcast bench soak --minutes {figures["minutes"]:g} --cycles {figures["cycles"]} --plots docs/results
```

{where(machine)} One server process, recording. {figures["cycles"]} viewers came one after the other, saw a frame and
left; then one viewer stayed for {figures["minutes"]:g} minutes and got {figures["frames"]} frames ({figures["fps"]} a
second); it was lost, and came again, {figures["viewer_lost"]} times.

![memory, threads and files](soak.png)

{table(["", "at first", f"after {figures['cycles']} viewers", "one viewer, at first", "at the end"], rows)}

A viewer leaves {figures["cycles_growth_kb_a_cycle"]} KB behind (median slope after the first fifth); with one viewer
the server grows by {figures["stay_growth_mb_an_hour"]} MB an hour.
""",
    )


def _axes(count: int, height: float = 3.6) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(1, count, figsize=(5.5 * count, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
