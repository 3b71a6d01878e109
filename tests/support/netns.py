"""Network namespaces for tests: a server, a relay and a viewer, where only the relay reaches both sides.

    server 10.211.1.2 -- 10.211.1.1 relay 10.211.2.1 -- 10.211.2.2 viewer

The relay forwards no packets, so server and viewer never reach each other; it forwards the server's TCP port by a
program, as a firewall that lets only the web through does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SERVER, VIEWER = "10.211.1.2", "10.211.2.2"
TO_SERVER, TO_VIEWER = "10.211.1.1", "10.211.2.1"
PORT = 8000

FORWARD = """
import asyncio, sys

async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def serve(reader, writer):
    there, back = await asyncio.open_connection(sys.argv[1], int(sys.argv[3]))
    await asyncio.gather(pump(reader, back), pump(there, writer))

async def main():
    server = await asyncio.start_server(serve, sys.argv[2], int(sys.argv[3]))
    print("forwarding", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


FETCH = """
import sys, urllib.request
body = sys.argv[2].encode() if len(sys.argv) > 2 else None
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""


def missing() -> str | None:
    """Why there can be no namespaces here; None when there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if shutil.which("ip") is None:
        return "the command `ip` (iproute2) is not installed"
    name = f"farcast-{os.getpid()}-try"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "this machine permits no network namespaces"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


class Net:
    """Three namespaces. `start` runs something in one; all of it ends with the net."""

    def __init__(self) -> None:
        self.names = {role: f"farcast-{os.getpid()}-{role}" for role in ("server", "relay", "viewer")}
        self.running: list[subprocess.Popen[str]] = []

    def build(self) -> None:
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        tag = os.getpid() % 10_000
        for side, ours, theirs in (("server", SERVER, TO_SERVER), ("viewer", VIEWER, TO_VIEWER)):
            far, near = f"fc{tag}{side[0]}", f"fc{tag}r{side[0]}"
            ip("-n", self.names[side], "link", "add", far, "type", "veth", "peer", near, "netns", self.names["relay"])
            ip("-n", self.names[side], "addr", "add", f"{ours}/24", "dev", far)
            ip("-n", self.names["relay"], "addr", "add", f"{theirs}/24", "dev", near)
            ip("-n", self.names[side], "link", "set", far, "up")
            ip("-n", self.names["relay"], "link", "set", near, "up")
            ip("-n", self.names[side], "route", "add", "default", "via", theirs)
        self.run("relay", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")

    def run(self, role: str, *command: str, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.names[role], *command],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, role: str, *command: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.names[role], *command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **(env or {})},
        )  # fmt: skip
        self.running.append(process)
        return process

    def forward(self, port: int = PORT) -> None:
        """The viewer reaches the server's TCP port at the relay's address."""
        process = self.start("relay", sys.executable, "-c", FORWARD, SERVER, TO_VIEWER, str(port))
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "forwarding"

    def close(self) -> None:
        for process in self.running:
            process.terminate()
        for process in self.running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def namespaces() -> Iterator[Net]:
    net = Net()
    try:
        net.build()
        yield net
    finally:
        net.close()


def fetch(net: Net, role: str, url: str, body: str | None = None) -> str:
    """GET `url` from the namespace of `role`; POST where there is a body (JSON)."""
    done = net.run(role, sys.executable, "-c", FETCH, url, *([body] if body is not None else []))
    assert done.returncode == 0, done.stderr
    return done.stdout
