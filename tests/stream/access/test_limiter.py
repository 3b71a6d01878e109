"""How much one user may do, and how long a session keeps its place."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import HTTPConnection
from websockets.sync.client import connect

from stream.access.limiter import user_of
from stream.config import RateLimits
from tests.support.guarded_server import CREATE, KEYS, first
from tests.support.running_server import Running, running, wait_for


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with keys, a page elsewhere that may use it, and a name of its own."""
    with running(
        api_keys=KEYS, allow_origins=("https://friend.example",), public_urls=("https://video.example",)
    ) as run:
        yield run


def test_one_user_gets_so_much_and_no_more() -> None:
    with running(rates=RateLimits(sessions=1, creations="3/minute", prompts="2/minute", sockets=1)) as server:
        made = server.create()
        more = httpx.post(f"{server.url}/v1/sessions", json={"prompt": "x"})
        assert (more.status_code, more.json()["code"]) == (429, "too_many_sessions")
        assert int(more.headers["retry-after"]) > 0
        headers = server.headers(made)
        with connect(server.socket(made), additional_headers=headers) as ws:
            for n in range(3):
                ws.send(json.dumps({"type": "dial", "id": f"d{n}", "steps": 2}))
            answers = {}
            while "d2" not in answers:
                message = json.loads(ws.recv(10))
                answers[message.get("re")] = message.get("code")
            assert answers["d2"] == "too_many"
            assert first(server.socket(made), additional_headers=headers)["code"] == "too_many"
        server.delete(made)
        httpx.post(f"{server.url}/v1/sessions", json={"prompt": "x"})
        fourth = httpx.post(f"{server.url}/v1/sessions", json={"prompt": "x"})
        assert (fourth.status_code, fourth.json()["code"]) == (429, "too_many")


@pytest.mark.parametrize(
    ("host", "user"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3::7", "2001:db8:1:2::/64"), ("testclient", "testclient")],
)
def test_a_user_is_an_address_or_a_household(host: str, user: str) -> None:
    connection = HTTPConnection({"type": "http", "client": (host, 1), "headers": []})
    assert user_of(connection) == user
    assert user_of(connection, KEYS[0]) == f"{user} key {KEYS[0].name}"
    assert CREATE not in user_of(connection, KEYS[0])


def test_a_session_ends_after_its_lifetime() -> None:
    with running(lifetime=0.5) as server:
        session = server.manager.sessions[server.create()["id"]]
        wait_for(lambda: session.state == "stopped", 10)
        assert "lasts up to" in session.reason


def test_a_pause_keeps_its_place_only_for_a_while() -> None:
    with running(max_sessions=1, pause_grace=0.2) as server:
        made = server.create()
        session = server.manager.sessions[made["id"]]
        wait_for(lambda: session.state == "live", 20)
        server.loop.call_soon_threadsafe(session.pause)
        time.sleep(0.4)
        server.delete(server.create())
        assert "place was needed" in session.reason
