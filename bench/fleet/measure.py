"""What happens to sessions of a local fleet: placement, a killed worker, a drain. Times in seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from random import Random
from typing import Any

import httpx

from bench.stats import quantile

from .local_fleet import OPERATOR, Follower, LocalFleet, fleet

WORKERS = 3
RATE = 6.0  # arrivals a second
Made = tuple[Follower, asyncio.Task[None], float]
FEW = 4  # workers' sessions that are followed when their worker ends, a worker


def summary(values: list[float]) -> dict[str, float]:
    return {
        "p50": round(quantile(values, 0.5), 3),
        "p95": round(quantile(values, 0.95), 3),
        "worst": round(max(values, default=0.0), 3),
    }


async def create(http: httpx.AsyncClient, gateway: str, url: str) -> Made:
    """A session made at `url`; returns who follows it, and the seconds from POST to the answer."""
    began = time.monotonic()
    answer = await http.post(f"{url}/v1/sessions", json={"prompt": "a red circle"}, headers=OPERATOR)
    seconds = time.monotonic() - began
    answer.raise_for_status()
    created = answer.json()
    urls = created["urls"]
    urls["control"] = urls["control"] if urls["control"].startswith("http") else url + urls["control"]
    follower = Follower(gateway, created, [])
    return follower, asyncio.create_task(follower.run()), seconds


async def arrivals(running: LocalFleet, count: int, urls: list[str]) -> list[Made]:
    """`count` sessions as a Poisson process, at one of `urls` after the other."""
    rng, made = Random(1), []
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        for number in range(count):
            made.append(asyncio.create_task(create(http, running.url, urls[number % len(urls)])))
            await asyncio.sleep(rng.expovariate(RATE))
        return list(await asyncio.wait_for(asyncio.gather(*made), 60))


async def delete(followers: list[Made]) -> None:
    async with httpx.AsyncClient(timeout=20, trust_env=False) as http:
        for follower, task, _ in followers:
            task.cancel()
            address = follower.created["urls"]["control"].removesuffix("/control")
            await http.delete(address, headers={"Authorization": f"Bearer {follower.created['token']}"})


async def all_moved(followers: list[Follower], since: float, seconds: float = 30.0) -> None:
    """Until each has had a chunk from another server."""
    moves = {id(one): one.moves for one in followers}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if followers and all(one.moves > moves[id(one)] and one.chunks[-1][0] > since + 0.5 for one in followers):
            return
        await asyncio.sleep(0.1)


def at(followers: list[Follower], url: str) -> list[Follower]:
    return [one for one in followers if one.created["urls"]["control"].startswith(url)]


async def run(sessions: int) -> dict[str, Any]:
    """All of it on one fleet of WORKERS. hand_over_s: from the signal until the gateway names the new server;
    chunk_to_chunk_s: the longest time without a chunk message, with up to `start_grace` (3 s) that a new server waits
    for the first viewer, as these sessions have none."""
    with fleet(WORKERS) as running:
        workers = running.overview()["workers"]
        direct = await arrivals(running, sessions // 2, [worker["url"] for worker in workers])
        await delete(direct)
        await asyncio.sleep(6.0)  # until the directory has forgotten them
        through = await arrivals(running, sessions, [running.url])
        followers = [follower for follower, _, _ in through]
        placed = [len(at(followers, worker["url"])) for worker in workers]
        spare = through[FEW * WORKERS :]  # a hand-over of all of them would measure this machine's two cores
        await delete(spare)
        kept = followers[: FEW * WORKERS]
        await asyncio.sleep(2.0)

        killed = at(kept, workers[0]["url"])
        since = time.monotonic()
        os.kill(running.worker(workers[0]["id"])["pid"], signal.SIGKILL)
        await all_moved(killed, since)
        after_kill = [one.gap(since) for one in killed]
        moved = [one.moved_at[0] - since for one in killed if one.moved_at]

        drains: list[float] = []
        drained: list[float] = []
        for worker in workers[1:]:  # the first one is back by now, with a new server
            since = time.monotonic()
            before = [one.moves for one in kept]
            answer = await asyncio.to_thread(running.drain, worker["id"])
            answer.raise_for_status()
            await asyncio.sleep(5.0)
            handed = [one for one, moves in zip(kept, before, strict=True) if one.moves > moves]
            drains += [one.gap(since) for one in handed]
            drained += [one.moved_at[-1] - since for one in handed]
        lost = [one.lost for one in kept if one.lost] + [one.lost for one in killed if not one.moves]
        counts = running.overview()["counts"]
        for _, task, _ in through:
            task.cancel()
    best = sessions / WORKERS
    return {
        "sessions": sessions,
        "placed": placed,
        "imbalance": round(max(abs(count - best) for count in placed) / best, 4),
        "post_to_answer_s": {
            "gateway": summary([seconds for _, _, seconds in through]),
            "direct": summary([seconds for _, _, seconds in direct]),
        },
        "kill": {"sessions": len(killed), "hand_over_s": summary(moved), "chunk_to_chunk_s": summary(after_kill)},
        "rolling_drain": {
            "hand_overs": len(drains), "hand_over_s": summary(drained), "chunk_to_chunk_s": summary(drains)
        },
        "lost": len(lost),
        "directory": counts,
    }
