"""A viewer that can reach nothing but the relay sees the picture: Debian's coturn with our configuration, between two
networks that do not know each other."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.netns import PORT, SERVER, TO_VIEWER, Net, fetch
from tests.support.players import INSTALLED, PLAYERS, of
from tests.support.timing import slack
from tests.support.turn import REASON, relayed_network, serve

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


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    with relayed_network(tmp_path_factory.mktemp("turn")) as made:
        yield made


@pytest.fixture
def take(net: Net) -> dict[str, Any]:
    """A session, made from the viewer's side."""
    answer = fetch(net, "viewer", f"http://{TO_VIEWER}:{PORT}/v1/sessions", json.dumps({"prompt": "a red circle"}))
    made: dict[str, Any] = json.loads(answer)
    return made


@pytest.mark.slow
def test_the_viewer_cannot_reach_the_server(net: Net) -> None:
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
    assert net.run("server", sys.executable, "-c", reach, SERVER, str(PORT)).returncode == 0
    assert net.run("viewer", sys.executable, "-c", reach, SERVER, str(PORT)).returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="npm's whip-whep and @roamhq/wrtc are not installed")
def test_libwebrtc_sees_the_picture_through_the_relay(net: Net, take: dict[str, Any]) -> None:
    url = f"http://{TO_VIEWER}:{PORT}{take['urls']['whep']}"
    done = net.run("viewer", "node", str(PLAYERS / "watch.mjs"), url, take["token"], str(8 * min(6.0, slack())))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(of(lines, "frame")) > 16, (lines[:10], done.stderr)
    assert {line["local"] for line in of(lines, "path")} == {"relay"}
    (answered,) = of(lines, "answered")
    assert answered["servers"][0]["username"].partition(":")[0].isdigit(), "credentials that expire"


@pytest.mark.slow
def test_our_own_client_sees_the_picture_through_the_relay(net: Net, take: dict[str, Any]) -> None:
    done = net.run("viewer", sys.executable, "-c", OURS, f"http://{TO_VIEWER}:{PORT}/", take["id"], take["token"])
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["path"] == "relay"
    assert max(abs(a - b) for a, b in zip(seen["rgb"], (220, 30, 30), strict=True)) < 30


@pytest.mark.slow
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
