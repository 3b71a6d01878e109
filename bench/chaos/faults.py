"""The faults, each a coroutine that causes one, waits as long as it lasts, and leaves the rest to the server.

Not among them: a clock jump (needs privileges), loss on the network (`farcast bench impairments`), memory that runs out
and NaN in latents (they need a hook inside the engine).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from .clients import Client
from .rude import fuzz, stop_reading
from .supervised import Supervised

FOLDER_S = 3.0  # that the state folder cannot be written
STOPPED_S = 5.0

# What must tell the clients: a message that the session is recovering; that or a close code 1012 ("service restart",
# RFC 6455 registry), of a server that had time to send one; a broken connection, all that a killed one leaves; nothing,
# where nothing is lost.
Telling = Literal["recovering", "restart", "broken", "none"]


@dataclass(frozen=True)
class Fault:
    """engine_lost: it costs an engine process, of which a server takes four a minute before it gives up."""

    name: str
    cause: Callable[[Supervised, list[Client], random.Random], Coroutine[Any, Any, None]]
    telling: Telling
    engine_lost: bool = False


async def engine_killed(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    _signal_engine(server, signal.SIGKILL)


async def engine_stopped(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    """For five seconds: shorter than a hang."""
    pid = _signal_engine(server, signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):  # on a slow machine the watchdog may have taken it
            os.kill(pid, signal.SIGCONT)


async def engine_hung(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    """Stopped for ever: the watchdog has to replace it."""
    _signal_engine(server, signal.SIGSTOP)


async def state_folder(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    """A file stands in the place of the folder with the sessions, so every write of a session's state fails. Stands for
    a full disk, which takes privileges to make."""
    folder = server.state / "sessions"
    aside = server.state / "sessions-aside"
    folder.rename(aside)
    folder.write_bytes(b"")
    try:
        await asyncio.sleep(FOLDER_S)
    finally:
        folder.unlink()
        aside.rename(folder)


async def server_terminated(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    await server.restart(signal.SIGTERM)


async def server_killed(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    await server.restart(signal.SIGKILL)


async def reader_stopped(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    """One more client of a session that asks and asks and reads no answer."""
    client = chance.choice(clients)
    await stop_reading(server.url, client.id, client.token)


async def malformed(server: Supervised, clients: list[Client], chance: random.Random) -> None:
    """Messages that no client may send, on the control socket of a session."""
    client = chance.choice(clients)
    await fuzz(server.url, client.id, client.token, chance)


def _signal_engine(server: Supervised, number: signal.Signals) -> int | None:
    pid = server.engine_pid
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return pid


FAULTS = (
    Fault("engine killed", engine_killed, "recovering", engine_lost=True),
    Fault("engine stopped for 5 s", engine_stopped, "none"),
    Fault("engine stopped for ever", engine_hung, "recovering", engine_lost=True),
    Fault("state folder unwritable", state_folder, "none"),
    Fault("server SIGTERM", server_terminated, "restart"),
    Fault("server SIGKILL", server_killed, "broken"),
    Fault("viewer that stops reading", reader_stopped, "none"),
    Fault("malformed messages", malformed, "none"),
)
