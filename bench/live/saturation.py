"""Sessions come one after the other until the server has no room; then one leaves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import farcast
import httpx
from farcast.errors import RequestRefused

from .probe import Watched, distance, watch

PROMPTS = (  # as unlike each other as can be: what two unrelated pictures differ by is the measure of a cut
    "a big red circle bouncing on a navy background",
    "a small blue star drifting on a white background",
    "a green square spinning on a black background",
    "a yellow triangle drifting on a gray background",
)
MOST = 8


@dataclass(frozen=True)
class Refusal:
    """What whoever did not come in was told."""

    status: int
    code: str
    reason: str
    retry_after: float | None


@dataclass
class Company:
    """phases: (how many there were, from when, to when)."""

    began: float
    sessions: list[Watched] = field(default_factory=list)
    phases: list[tuple[int, float, float]] = field(default_factory=list)
    refusal: Refusal | None = None
    unrelated: list[float] = field(default_factory=list)  # differences between pictures of different sessions


async def measure(url: str, *, phase_s: float, latency_ms: float = 1500.0) -> Company:
    """Fill the server, empty it by one, and note what everybody saw."""
    seen = Company(time.monotonic())
    visits: list[tuple[contextlib.AsyncExitStack, asyncio.Task[None]]] = []
    try:
        for number in range(MOST):
            visit = contextlib.AsyncExitStack()
            prompt = PROMPTS[number % len(PROMPTS)]
            try:
                take = await visit.enter_async_context(
                    farcast.connect(url, prompt=prompt, seed=number, dial=farcast.Dial(latency_ms=latency_ms))
                )
            except RequestRefused:
                seen.refusal = await _refused(url)
                break
            watched = Watched(f"session {number + 1}")
            seen.sessions.append(watched)
            visits.append((visit, asyncio.create_task(watch(take, watched))))
            await _phase(seen, len(visits), phase_s)
        if len(visits) > 1:
            await _leave(*visits.pop())
            await _phase(seen, len(visits), phase_s)
    finally:
        while visits:
            await _leave(*visits.pop())
    return seen


async def _phase(seen: Company, count: int, seconds: float) -> None:
    start = time.monotonic()
    await asyncio.sleep(seconds)
    seen.phases.append((count, start, time.monotonic()))
    there = [s.picture for s in seen.sessions[:count] if s.picture is not None]
    seen.unrelated += [distance(a, b) for a, b in itertools.combinations(there, 2)]


async def _leave(visit: contextlib.AsyncExitStack, task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await visit.aclose()


async def _refused(url: str) -> Refusal:
    """The same once more, for the answer as it is on the wire."""
    body: dict[str, Any] = {"prompt": PROMPTS[0]}
    async with httpx.AsyncClient(timeout=30.0) as client:
        answer = await client.post(f"{url}v1/sessions", json=body)
    problem = answer.json() if answer.status_code >= 400 else {}
    wait = answer.headers.get("Retry-After", "")
    return Refusal(
        answer.status_code, problem.get("code", ""), problem.get("detail", ""), float(wait) if wait.isdigit() else None
    )
