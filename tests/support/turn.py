"""A viewer that reaches the server only through a TURN relay: coturn, with the configuration of deploy/, in network
namespaces (see netns.py)."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.netns import PORT, SERVER, TO_SERVER, TO_VIEWER, VIEWER, Net, missing, namespaces

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a secret that both know"
# Why there is no relay on this machine; None where there is one.
REASON = missing() or (None if shutil.which("turnserver") else "coturn is not installed: run requirements/players.sh")


def serve(net: Net, *options: str, port: int = PORT) -> None:
    """Our server in its namespace, ready."""
    command = [
        sys.executable, "-m", "farcast", "serve", "--host", "0.0.0.0", "--open", "--port", str(port),
        "--no-record", "--no-state",
        "--engine", "tests.support.fake_backend:open_model", "--model", "fake?step=0.002", *options,
    ]  # fmt: skip
    where = {"PYTHONPATH": f"{ROOT}:{ROOT / 'client/python'}", "FARCAST_TURN_SECRET": SECRET}
    server = net.start("server", *command, env=where)
    assert server.stdout is not None
    said = []
    for line in server.stdout:
        said.append(line)
        if "ready with" in line:
            return
    raise AssertionError("".join(said))


@contextmanager
def relayed_network(home: Path) -> Iterator[Net]:
    """Namespaces with the server and coturn running. `home`: where coturn puts its files."""
    with namespaces() as made:
        made.start(
            "relay", "turnserver", "-c", str(ROOT / "deploy/turnserver.conf"), "--realm=farcast",
            f"--static-auth-secret={SECRET}", f"--listening-ip={TO_SERVER}", f"--listening-ip={TO_VIEWER}",
            f"--relay-ip={TO_SERVER}", f"--allowed-peer-ip={SERVER}", f"--allowed-peer-ip={VIEWER}",
            f"--allowed-peer-ip={TO_SERVER}",
            f"--pidfile={home}/pid", f"--userdb={home}/db", "--log-file=stdout",
        )  # fmt: skip
        serve(made, "--ice-server", f"turn:{TO_VIEWER}:3478?transport=udp")
        made.forward()
        time.sleep(0.5)
        yield made
