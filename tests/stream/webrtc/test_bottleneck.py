"""One viewer behind a narrow link, another that is not: each gets what its network carries. Real kernels' queues (tbf)
between network namespaces, libwebrtc at both ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import PORT, SERVER, TO_VIEWER, Net, fetch, missing, namespaces
from tests.support.players import INSTALLED, PLAYERS, of
from tests.support.timing import slack

ROOT = Path(__file__).resolve().parents[3]
REASON = missing() or (None if INSTALLED else "npm's whip-whep and @roamhq/wrtc are not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=REASON or "")]
LINK = "150kbit"  # half of what the picture would like
SECONDS = 22


@pytest.fixture
def net() -> Iterator[Net]:
    with namespaces() as made:
        made.run("relay", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        shown = subprocess.run(
            ["ip", "-n", made.names["relay"], "-o", "addr"], capture_output=True, text=True, check=True
        )
        device = next(line.split()[1] for line in shown.stdout.splitlines() if TO_VIEWER in line)
        narrow = ("root", "tbf", "rate", LINK, "burst", "4kb", "latency", "300ms")
        done = made.run("relay", "tc", "qdisc", "add", "dev", device, *narrow)
        if done.returncode:
            pytest.skip(f"this kernel has no tbf: {done.stderr.strip()}")
        command = [
            sys.executable, "-m", "farcast", "serve", "--host", "0.0.0.0", "--open", "--port", str(PORT), "--no-record",
            "--engine", "tests.support.fake_backend:open_model", "--model", "fake?step=0.002&size=256&rich=1",
        ]  # fmt: skip
        server = made.start("server", *command, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client/python'}"})
        assert server.stdout is not None
        assert any("ready with" in line for line in server.stdout)
        yield made


def test_a_narrow_link_gets_less_and_nobody_else_does(net: Net) -> None:
    base = f"http://{SERVER}:{PORT}"
    take = json.loads(fetch(net, "relay", f"{base}/v1/sessions", json.dumps({"prompt": "a red circle"})))
    command = ["node", str(PLAYERS / "watch.mjs"), base + take["urls"]["whep"], take["token"], str(SECONDS)]
    with ThreadPoolExecutor(2) as pool:
        watching = {role: pool.submit(net.run, role, *command) for role in ("relay", "viewer")}
        seen = {role: [json.loads(x) for x in done.result().stdout.splitlines()] for role, done in watching.items()}
    counted = fetch(net, "relay", f"{base}/metrics")
    assert 'farcast_encoded_bytes_total{codec="VP8",encoding="low"}' in counted, "a second encoding for the slow one"
    fast, slow = (settled(seen[role]) for role in ("relay", "viewer"))
    assert len(fast) / 10 > 9 / slack(), "the other's picture moves on"
    assert max(gaps(fast)) < 1500 * slack()
    assert len(slow) / 10 > 3 / slack(), "and so does the slow one's, every second frame at least"
    assert max(gaps(slow)) < 3000 * slack()


def settled(lines: list[dict[str, Any]]) -> list[float]:
    """When frames came in the last ten seconds, milliseconds."""
    times = [line["at"] for line in of(lines, "frame")]
    assert times, lines[:5]
    return [at for at in times if at > (SECONDS - 10) * 1000]


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(times)]
