"""A bottleneck of the kernel's own: a network namespace behind a link with a token bucket (tbf). Linux, as root."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from .browser_viewer import find_chromium

SERVER, VIEWER = "10.213.77.1", "10.213.77.2"


@dataclass(frozen=True)
class Link:
    """`chromium`: a browser that starts inside; `address`: the server's, as seen from there."""

    name: str
    device: str
    chromium: str
    address: str = SERVER

    async def narrow(self, kbit: int) -> None:
        await _run("tc", "qdisc", "replace", "dev", self.device, "root", "tbf", "rate", f"{kbit}kbit",
                   "burst", "8kb", "latency", "200ms")  # fmt: skip

    async def widen(self) -> None:
        await _run("tc", "qdisc", "del", "dev", self.device, "root")


@asynccontextmanager
async def namespace(chromium: str | None) -> AsyncIterator[Link | None]:
    """None where this machine does not let us."""
    browser = find_chromium(chromium)
    name = f"farcast{os.getpid()}"
    near, far = f"fc{os.getpid()}a", f"fc{os.getpid()}b"
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")) or browser is None:
        yield None
        return
    await _sweep()
    if not await _run("ip", "netns", "add", name):
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "chromium"
        inside.write_text(f'#!/bin/sh\nexec ip netns exec {name} "{browser}" "$@"\n', encoding="utf-8")
        inside.chmod(0o755)
        try:
            ready = (
                await _run("ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
                and await _run("ip", "addr", "add", f"{SERVER}/30", "dev", near)
                and await _run("ip", "link", "set", near, "up")
                and await _run("ip", "-n", name, "addr", "add", f"{VIEWER}/30", "dev", far)
                and await _run("ip", "-n", name, "link", "set", far, "up")
                and await _run("ip", "-n", name, "link", "set", "lo", "up")
            )
            yield Link(name, near, str(inside)) if ready else None
        finally:
            await _run("ip", "link", "del", near)
            await _run("ip", "netns", "del", name)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _sweep() -> None:
    """What a bench that was killed has left behind."""
    listing = await asyncio.create_subprocess_exec("ip", "netns", "list", stdout=asyncio.subprocess.PIPE)
    for name in re.findall(r"^farcast(\d+)\b", (await listing.communicate())[0].decode(), re.MULTILINE):
        if not _runs(int(name)):
            await _run("ip", "link", "del", f"fc{name}a")
            await _run("ip", "netns", "del", f"farcast{name}")


async def _run(*command: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0
