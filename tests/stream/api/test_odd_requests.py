"""What once ended in a traceback, and offers that do not connect."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.guarded_server import KEYS, bearer
from tests.support.running_server import Running, running, wait_for


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with keys, a page elsewhere that may use it, and a name of its own."""
    with running(
        api_keys=KEYS, allow_origins=("https://friend.example",), public_urls=("https://video.example",)
    ) as run:
        yield run


def test_a_range_of_thousands_of_digits_is_answered(server: Running) -> None:
    made = server.create()
    wait_for(lambda: server.manager.sessions[made["id"]].recording.size, 20)
    url = server.url + made["urls"]["recording"]
    for value in ("9" * 5000 + "-", "-" + "9" * 5000, "0-" + "9" * 5000):
        answer = httpx.get(url, headers={**server.headers(made), "Range": f"bytes={value}"})
        assert answer.status_code in (206, 416)
    server.delete(made)


def test_half_of_a_surrogate_pair_is_refused_and_the_socket_stays(server: Running) -> None:
    made = server.create()
    with connect(server.socket(made), additional_headers=server.headers(made)) as ws:
        for text in (r'{"type":"ping","id":"\ud800","t":0}', r'{"type":"prompt","id":"p","text":"\udfff"}'):
            ws.send(text)
            while (answer := json.loads(ws.recv(10)))["type"] != "error":
                pass
            assert answer["code"] == "bad_json"
        ws.send(json.dumps({"type": "ping", "id": "\U0001f600", "t": 0}))
        while json.loads(ws.recv(10)).get("re") != "\U0001f600":
            pass
    server.delete(made)


def test_a_body_that_is_not_utf_8_is_refused(server: Running) -> None:
    answer = httpx.post(
        f"{server.url}/v1/sessions", content=b'{"prompt": "\xff"}', headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


async def test_offers_that_never_connect_do_not_keep_the_owner_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.whep_peer import SDP, Peer

    with running(max_viewers=2) as server:
        made = await asyncio.to_thread(server.create)
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
            peers = [Peer() for _ in range(5)]
            try:
                offers = [await peer.offer() for peer in peers]
                view = {**SDP, **bearer(made["view_token"])}
                whep = made["urls"]["whep"]
                answers = [(await http.post(whep, content=o, headers=view)).status_code for o in offers[:3]]
                assert answers == [201, 201, 503]
                mine = await http.post(whep, content=offers[4], headers={**SDP, **server.headers(made)})
                assert mine.status_code == 201
                monkeypatch.setattr("stream.api.whep.CONNECTS_WITHIN", 0.0)
                assert (await http.post(whep, content=offers[3], headers=view)).status_code == 201
                assert (await http.get(mine.headers["location"])).status_code == 200, "the owner's is still there"
            finally:
                for peer in peers:
                    await peer.peer.close()


async def test_with_the_udp_ports_used_up_an_offer_is_refused_in_words() -> None:
    from tests.support.whep_peer import SDP, Peer

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with running(ice_ports=(port, port), ice_addresses=("127.0.0.1",)) as server:
            made = await asyncio.to_thread(server.create)
            peer = Peer()
            try:
                async with httpx.AsyncClient(base_url=server.url, timeout=20) as http:
                    headers = {**SDP, **server.headers(made)}
                    refused = await http.post(made["urls"]["whep"], content=await peer.offer(), headers=headers)
                assert (refused.status_code, refused.json()["code"]) == (503, "no_ports")
            finally:
                await peer.peer.close()
