"""A viewer that can reach nothing but the relay sees the picture: Debian's coturn with our configuration, between two
networks that do not know each other."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stream.webrtc.test_players import INSTALLED, PLAYERS, of
from tests.support.netns import PORT, SERVER, TO_SERVER, TO_VIEWER, VIEWER, Net, missing, namespaces
from tests.support.timing import slack

ROOT = Path(__file__).resolve().parents[3]
SECRET = "a secret that both know"
REASON = missing() or (None if shutil.which("turnserver") else "coturn is not installed: run requirements/players.sh")
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")

OURS = """
import asyncio, json, sys
import farcast
from aiortc import RTCIceServer

async def main():
    url, session, token, *stun = sys.argv[1:]
    mine = [RTCIceServer(address) for address in stun]
    async with farcast.connect(url, session=session, token=token, ice_servers=mine) as live:
        frames = live.frames()
        for _ in range(20):
            frame = await asyncio.wait_for(frames.get(), 30)
        peer = live._player._peer
        ice = next(iter(peer.getTransceivers())).receiver.transport.transport
        pair = next(iter(ice.iceGatherer._connection._nominated.values()))
        path, to = pair.local_candidate.type, pair.remote_candidate.type
        print(json.dumps({"path": path, "to": to, "rgb": frame.image[8, 8].tolist()}))

asyncio.run(main())
"""

FETCH = """
import sys, urllib.request
body = sys.argv[2].encode() if len(sys.argv) > 2 else None
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""


def serve(net: Net, *options: str, port: int = PORT) -> None:
    """Our server in its namespace, ready."""
    command = [
        sys.executable, "-m", "farcast", "serve", "--host", "0.0.0.0", "--port", str(port), "--no-record",
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


def fetch(net: Net, role: str, url: str, body: str | None = None) -> str:
    done = net.run(role, sys.executable, "-c", FETCH, url, *([body] if body is not None else []))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with namespaces() as made:
        home = tmp_path_factory.mktemp("turn")
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


@pytest.fixture
def take(net: Net) -> dict[str, Any]:
    """A session, made from the viewer's side."""
    answer = fetch(net, "viewer", f"http://{TO_VIEWER}:{PORT}/v1/sessions", json.dumps({"prompt": "a red circle"}))
    made: dict[str, Any] = json.loads(answer)
    return made


def test_the_viewer_cannot_reach_the_server(net: Net) -> None:
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
    assert net.run("server", sys.executable, "-c", reach, SERVER, str(PORT)).returncode == 0
    assert net.run("viewer", sys.executable, "-c", reach, SERVER, str(PORT)).returncode != 0


@pytest.mark.skipif(not INSTALLED, reason="npm's whip-whep and @roamhq/wrtc are not installed")
def test_libwebrtc_sees_the_picture_through_the_relay(net: Net, take: dict[str, Any]) -> None:
    url = f"http://{TO_VIEWER}:{PORT}{take['urls']['whep']}"
    done = net.run("viewer", "node", str(PLAYERS / "watch.mjs"), url, take["token"], str(8 * min(6.0, slack())))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(of(lines, "frame")) > 16, (lines[:10], done.stderr)
    assert {line["local"] for line in of(lines, "path")} == {"relay"}
    (answered,) = of(lines, "answered")
    assert answered["servers"][0]["username"].partition(":")[0].isdigit(), "credentials that expire"


def test_our_own_client_sees_the_picture_through_the_relay(net: Net, take: dict[str, Any]) -> None:
    done = net.run("viewer", sys.executable, "-c", OURS, f"http://{TO_VIEWER}:{PORT}/", take["id"], take["token"])
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["path"] == "relay"
    assert max(abs(a - b) for a, b in zip(seen["rgb"], (220, 30, 30), strict=True)) < 30


def test_a_server_that_nobody_can_reach_sends_through_a_relay_of_its_own(net: Net) -> None:
    port = PORT + 1
    serve(net, "--ice-server", f"turn:{TO_VIEWER}:3478", "--relay", port=port)
    net.forward(port)
    base = f"http://{TO_VIEWER}:{port}"
    take = json.loads(fetch(net, "viewer", f"{base}/v1/sessions", json.dumps({"prompt": "a red circle"})))
    stun = f"stun:{TO_VIEWER}:3478"  # in place of the relay that the server names
    done = net.run("viewer", sys.executable, "-c", OURS, f"{base}/", take["id"], take["token"], stun)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] != "relay"
    assert json.loads(done.stdout)["to"] == "relay"
