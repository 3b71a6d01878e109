"""Sessions that come and go: does the server give back what they held?

`farcast serve` with a model; each session is created, some are watched for a few frames, steered, given a picture or
rendered, and then deleted. Measured from outside, of the server and its engine process.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import farcast
import httpx
import numpy as np

from .server_process import Server, descendants, resident_mb, serving

FIRST = 50  # sessions after which pools, caches and arenas should be filled
SETTLE_S = 3.0  # before each reading: sessions end in the background
FRAMES = 12  # that a watched session shows


async def measure(sessions: int, model: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Rows of figures while `sessions` come and go, with "first" after the first 50 (or half) and "last"."""
    options = ["--max-sessions", "4", "--record-keep", "0.05"]
    async with serving(*options, *([] if model is None else ["--model", model])) as server:
        rows = [await _figures(server, 0)]
        first = min(FIRST, max(1, sessions // 2))
        for number in range(1, sessions + 1):
            await _one(server, number)
            if number in (first, sessions) or number % 10 == 0:
                if number in (first, sessions):
                    await asyncio.sleep(SETTLE_S)
                rows.append(await _figures(server, number))
                tell(f"{number} sessions: {rows[-1]}")
    return {"rows": rows, "first": next(r for r in rows if r["sessions"] == first), "last": rows[-1]}


async def _one(server: Server, number: int) -> None:
    """One session: by turns never watched, watched, steered and rewound, given a picture."""
    kind = number % 4
    if kind == 0:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
            made = (await http.post("/v1/sessions", json={"prompt": "a red circle"})).raise_for_status().json()
            headers = {"Authorization": f"Bearer {made['token']}"}
            await asyncio.sleep(0.2)
            (await http.delete(made["urls"]["session"], headers=headers)).raise_for_status()
        return
    async with farcast.connect(server.url, prompt="a red circle") as live:
        count = 0
        async for _ in live.frames():
            count += 1
            if count == FRAMES:
                break
        if kind == 2:
            await live.prompt("a blue square")
            await live.rewind(0)
        elif kind == 3:
            await live.image(np.full((128, 128, 3), 90, np.uint8))


async def _figures(server: Server, sessions: int) -> dict[str, float]:
    """MB resident, threads, open files, asyncio tasks, temporary files of the server and its engine."""
    pid = server.process.pid
    below = [child for child in descendants(pid) if child != pid]
    async with httpx.AsyncClient(timeout=30) as http:
        metrics = (await http.get(f"{server.url}metrics")).text
    tasks = next((line.split()[1] for line in metrics.splitlines() if line.startswith("farcast_tasks ")), "0")
    return {
        "sessions": sessions,
        "server_mb": round(_own_mb(pid), 1),
        "engine_mb": round(resident_mb(pid) - _own_mb(pid), 1),
        "threads": _count(pid, "task"),
        "files": _count(pid, "fd"),
        "engine_files": sum(_count(child, "fd") for child in below),
        "tasks": float(tasks),
        "temporary_files": await asyncio.to_thread(_temporary_files),
    }


def _temporary_files() -> int:
    return sum(1 for path in Path(tempfile.gettempdir()).glob("farcast-*") for _ in path.rglob("*"))


def _own_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def _count(pid: int, what: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))
    except OSError:
        return 0
