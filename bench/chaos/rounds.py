"""Rounds of a random fault against sessions that stream, and the figures that come of them."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import farcast

from bench.stats import median

from .clients import Client
from .faults import FAULTS, Fault
from .supervised import Supervised, supervised
from .uninterrupted import differing, load

SESSIONS = 3
SETTLE_S = 0.3  # after a fault: chunks that were on their way have come
LIMIT_S = 60.0  # a session whose picture has not moved by then is lost
CALM_S = (1.0, 2.5)  # between two rounds
# A server gives up after five ends of the engine within a minute (`stream.engine.crashes`), which is not the question.
ENGINES, ENGINES_S = 4, 60.0
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """engine: "module:function" that opens the model; steps: fixed, of every chunk; compared: chunks of each session
    that are made again without faults, at most."""

    rounds: int
    seed: int = 0
    steps: int = 1
    model: str | None = None
    engine: str = "stream.engine.torch_backend:open_model"
    compared: int = 2000
    faults: Sequence[Fault] = FAULTS


@dataclass
class Outcome:
    """Of all rounds so far. seconds, still: by fault, one value a session, or a client with frames, and round."""

    rounds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    still: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lost: list[str] = field(default_factory=list)
    not_told: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    compared: int = 0

    def figures(self) -> dict[str, Any]:
        by_fault = {
            name: {
                "rounds": count,
                "median_s": round(median(self.seconds[name]), 2),
                "worst_s": round(max(self.seconds[name], default=float("nan")), 2),
                "picture_still_s": round(max(self.still[name], default=float("nan")), 2),
            }
            for name, count in sorted(self.rounds.items())
        }
        return {
            "rounds": sum(self.rounds.values()),
            "by_fault": by_fault,
            "sessions_lost": self.lost,
            "clients_not_told": self.not_told,
            "chunks_compared": self.compared,
            "chunks_that_differ": self.differ,
        }


async def measure(setting: Setting, tell: Tell) -> dict[str, Any]:
    """Everything, on a server of its own. Raises EngineFailed when it does not start."""
    options = ["--max-sessions", str(SESSIONS + 1), "--engine", setting.engine]
    options += [] if setting.model is None else ["--model", setting.model]
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        async with supervised(Path(folder) / "state", options) as server:
            outcome, scores = await _stream(server, setting, tell)
        tell("the server's log ends with:\n  " + "\n  ".join(list(server.log)[-20:]))
    await asyncio.to_thread(_compare, setting, scores, outcome)
    return {
        **outcome.figures(),
        "tracebacks": server.tracebacks,
        "server_exits_by_itself": server.exits,
        "exit_statuses_after_sigterm": sorted(set(server.exit_codes)),
    }


async def _stream(server: Supervised, setting: Setting, tell: Tell) -> tuple[Outcome, list[dict[str, Any]]]:
    """Play all rounds. Returns what came of them, and the scores of the sessions that are left."""
    chance, outcome, made = random.Random(setting.seed), Outcome(), 0
    clients: list[Client] = []

    async def another(at: int) -> Client:
        nonlocal made
        made += 1
        client = Client(server.url, at, seed=1000 * setting.seed + made, steps=setting.steps, show=at == 0)
        await client.open()
        clients.append(client)
        if await client.moved(time.monotonic(), 0, LIMIT_S) is None:
            raise farcast.FarcastError(f"A new session shows nothing within {LIMIT_S:g} s: {client.lost}.")
        return client

    try:
        for number in range(SESSIONS):
            await another(number)
        faults = pick(setting.faults, chance, time.monotonic)
        for number in range(setting.rounds):
            await asyncio.sleep(chance.uniform(*CALM_S))
            fault = next(faults)
            said = await _round(server, clients, fault, chance, outcome)
            tell(f"round {number + 1}: {fault.name}: {said}")
            for client in [one for one in clients if one.lost]:
                clients.remove(client)
                await client.close()
                await another(client.number)
        return outcome, [await client.score() for client in clients]
    finally:
        await asyncio.gather(*(client.close() for client in clients))


def pick(faults: Sequence[Fault], chance: random.Random, clock: Callable[[], float]) -> Iterator[Fault]:
    """Faults in a random order, all of them before one comes again; those that cost an engine wait while a server would
    give up."""
    deck: list[Fault] = []
    deaths: list[float] = []
    while True:
        deck = deck or chance.sample(list(faults), len(faults))
        deaths = [at for at in deaths if clock() - at < ENGINES_S]
        possible = [fault for fault in deck if not fault.engine_lost or len(deaths) < ENGINES - 1]
        if not possible:
            deck += chance.sample(list(faults), len(faults))
            possible = [fault for fault in deck if not fault.engine_lost] or deck
        deck.remove(possible[0])
        if possible[0].engine_lost:
            deaths.append(clock())
        yield possible[0]


async def _round(
    server: Supervised, clients: list[Client], fault: Fault, chance: random.Random, outcome: Outcome
) -> str:
    """One fault. Returns what to print of it."""
    for client in clients:
        client.begin_round()
    began = time.monotonic()
    cause = asyncio.create_task(fault.cause(server, clients, chance))
    await asyncio.sleep(SETTLE_S)
    moved = await asyncio.gather(*(client.moved(began + SETTLE_S, client.newest, LIMIT_S) for client in clients))
    await cause
    shows = await asyncio.gather(*(client.shows(time.monotonic(), LIMIT_S) for client in clients))
    outcome.rounds[fault.name] += 1
    for client, seconds, picture in zip(clients, moved, shows, strict=True):
        where = f"session {client.number} ({client.prompt}), {fault.name}"
        if seconds is None or client.lost or not picture:
            client.lost = client.lost or f"no new {'frame' if seconds else 'chunk'} within {LIMIT_S:g} s"
            outcome.lost.append(f"{where}: {client.lost}")
        else:
            outcome.seconds[fault.name].append(SETTLE_S + seconds)
        if not told(fault, client):
            outcome.not_told.append(where)
        if client.show:
            outcome.still[fault.name].append(client.seen.longest_still)
    return ", ".join("lost" if seconds is None else f"{SETTLE_S + seconds:.1f} s" for seconds in moved)


def told(fault: Fault, client: Client) -> bool:
    """Whether the client was told, as far as the fault leaves anybody who can."""
    recovering = any(one.startswith("recovering") for one in client.seen.told)
    match fault.telling:
        case "none":
            return True
        case "recovering":
            return recovering
        case "restart":
            return recovering or any("1012" in one for one in client.seen.closed)
        case "broken":
            return recovering or bool(client.seen.closed)


def _compare(setting: Setting, scores: list[dict[str, Any]], outcome: Outcome) -> None:
    """Make the sessions again without faults, and compare every chunk."""
    threads = int((scores[0].get("made_with") or {}).get("threads") or 0) if scores else 0
    model = load(setting.engine, setting.model, threads)
    for number, score in enumerate(scores):
        compared, wrong = differing(model, score, setting.compared)
        outcome.compared += compared
        outcome.differ += [f"session {number}, chunk {chunk}" for chunk in wrong]
