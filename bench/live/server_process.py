"""`farcast serve` in a process of its own, and its memory from outside."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stream.errors import EngineFailed

URL = re.compile(r"http://\S+")


@dataclass
class Server:
    """A server process of ours, ready."""

    url: str
    process: Process
    page_s: float
    ready_s: float
    model: str = ""


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[Server]:
    """`farcast serve` on a free port, ready; ended afterwards. Raises EngineFailed with what it said."""
    began = time.monotonic()
    command = [sys.executable, "-m", "farcast", "serve", "--port", "0", "--log-level", "warning", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        assert process.stdout is not None
        url, page_s = "", 0.0
        while line := (await asyncio.wait_for(process.stdout.readline(), 300)).decode():
            match = URL.search(line)
            if match and not url:
                url, page_s = match.group(), time.monotonic() - began
            if "ready with" in line:
                name = line.partition("ready with ")[2].partition(" on ")[0]
                yield Server(url, process, page_s, time.monotonic() - began, name)
                return
        raise EngineFailed("The server did not start. Its message is above.")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def resident_mb(pid: int) -> float:
    """Of a process and everything below it, from /proc; 0 where there is none."""
    total = 0.0
    for process in descendants(pid):
        try:
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
    return total


def descendants(pid: int) -> list[int]:
    """`pid` and all processes below it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8")
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += parents.get(found[-1], [])
    return found


def unit_costs(metrics: str) -> dict[str, float]:
    """Mean milliseconds of each kind of unit, from the server's own count."""
    values: dict[tuple[str, str], float] = {}
    for line in metrics.splitlines():
        match = re.match(r'farcast_unit_seconds_(sum|count)\{kind="(\w+)"\} (\S+)', line)
        if match:
            values[match[1], match[2]] = float(match[3])
    kinds = [kind for what, kind in values if what == "count"]
    return {
        kind: round(1e3 * values["sum", kind] / values["count", kind], 2) for kind in kinds if values["count", kind]
    }
