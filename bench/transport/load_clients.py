"""A fan of viewers as an object: starts `fan`, tells it what to do, adds up what it counts."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stream.errors import EngineFailed


class Fan:
    """Viewers in a process of their own."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def ask(self, command: str, seconds: float = 300.0) -> Any:
        """One command, one answer. Raises EngineFailed when the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.process.stdin.drain()
        line = await asyncio.wait_for(self.process.stdout.readline(), seconds)
        if not line:
            raise EngineFailed("The viewers' process has ended. Its message is above.")
        return json.loads(line)

    async def frames(self) -> int:
        """How many all viewers together have got."""
        return int(sum(await self.ask("counts")))


@asynccontextmanager
async def fan(url: str, token: str = "none") -> AsyncIterator[Fan]:
    """Viewers of the WHEP address `url`; they go with the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.transport.load_clients_worker", url, token,
        stdin=PIPE, stdout=PIPE, limit=2**20, env=dict(os.environ),
    )
    try:
        yield Fan(process)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
