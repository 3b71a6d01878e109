"""Keys with scopes, roles of a session, tickets; and no address or log line that holds a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from stream.access.credentials import MaskSecrets, masked
from stream.config import ApiKey, ServerConfig
from stream.errors import ConfigError
from tests.support.guarded_server import CREATE, KEYS, OPERATE, bearer, create
from tests.support.running_server import Running, running, wait_for


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with keys, a page elsewhere that may use it, and a name of its own."""
    with running(
        api_keys=KEYS, allow_origins=("https://friend.example",), public_urls=("https://video.example",)
    ) as run:
        yield run


def test_a_server_that_others_reach_needs_a_key_or_says_that_it_is_open() -> None:
    with pytest.raises(ConfigError, match="--api-key-file"):
        ServerConfig(host="0.0.0.0")
    assert ServerConfig(host="0.0.0.0", open=True).open
    assert ServerConfig(host="0.0.0.0", api_keys=KEYS).api_keys == KEYS
    assert ServerConfig(host="127.0.0.1").on_loopback
    with pytest.raises(ConfigError, match="16 characters"):
        ApiKey.parse("create:short")


def test_keys_have_scopes(guarded: Running) -> None:
    sessions = f"{guarded.url}/v1/sessions"
    refused = httpx.post(sessions, json={"prompt": "x"})
    assert (refused.status_code, refused.json()["code"]) == (401, "no_key")
    assert create(guarded, "wrong-key-0123456789").json()["code"] == "no_key"
    assert create(guarded, OPERATE).json()["code"] == "wrong_scope"
    made = create(guarded)
    assert made.status_code == 201
    assert httpx.get(sessions).status_code == 401
    assert httpx.get(sessions, headers=bearer(CREATE)).status_code == 403
    listed = httpx.get(sessions, headers=bearer(OPERATE)).json()["sessions"]
    assert [entry["id"] for entry in listed] == [made.json()["id"]]
    assert "token" not in json.dumps(listed)
    one = guarded.url + made.json()["urls"]["session"]
    assert httpx.delete(one, headers=bearer(CREATE)).status_code == 401
    assert httpx.delete(one, headers=bearer(OPERATE)).status_code == 204
    assert create(guarded).status_code == 201
    assert httpx.delete(sessions, headers=bearer(OPERATE)).status_code == 204
    assert guarded.manager.running == []


def test_without_keys_nobody_operates(server: Running) -> None:
    assert httpx.get(f"{server.url}/v1/sessions").json()["code"] == "no_key"


def test_a_view_token_neither_starts_nor_cancels_a_render(server: Running) -> None:
    made = server.create()
    view = bearer(made["view_token"])
    wait_for(lambda: server.manager.sessions[made["id"]].score.chunks > 1, 20)
    refused = httpx.post(server.url + made["urls"]["renders"], json={"steps": 2}, headers=view)
    assert (refused.status_code, refused.json()["code"]) == (401, "watch_only")
    started = httpx.post(server.url + made["urls"]["renders"], json={"steps": 2}, headers=server.headers(made))
    url = server.url + started.headers["location"]
    assert httpx.get(url, headers=view).status_code == 200
    assert httpx.delete(url, headers=view).json()["code"] == "watch_only"
    assert httpx.delete(url, headers=server.headers(made)).status_code == 204
    server.delete(made)


def test_a_socket_takes_its_token_as_a_subprotocol_or_in_the_first_message(server: Running) -> None:
    made = server.create()
    url = server.socket(made)
    with connect(url, subprotocols=["farcast.v1", f"token.{made['token']}"]) as ws:  # type: ignore[list-item]
        assert ws.subprotocol == "farcast.v1"
        assert json.loads(ws.recv(10))["type"] == "session"
    with connect(url) as ws:
        ws.send(json.dumps({"type": "auth", "token": made["token"]}))
        assert json.loads(ws.recv(10))["type"] == "session"
    with connect(f"{url}?token={made['token']}") as ws:
        ws.send(json.dumps({"type": "ping", "id": "1", "t": 0}))
        assert json.loads(ws.recv(10))["code"] == "unauthorised"
        with pytest.raises(ConnectionClosed):
            ws.recv(10)
    address = f"{server.url}{made['urls']['session']}?token={made['token']}"
    assert httpx.get(address).status_code == 401
    server.delete(made)


def test_a_ticket_opens_one_address_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        made = server.create()
        wait_for(lambda: server.manager.sessions[made["id"]].recording.size, 20)
        asked = f"{server.url}/v1/sessions/{made['id']}/recording/ticket"
        assert httpx.post(asked).status_code == 401
        url = httpx.post(asked, headers=bearer(made["view_token"])).json()["url"]
        assert made["token"] not in url
        assert httpx.get(server.url + url).status_code == 200
        assert httpx.get(server.url + url[:-2]).json()["code"] == "bad_ticket"
        other = server.create()
        ticket = url.partition("?")[2]
        assert httpx.get(f"{server.url}{other['urls']['recording']}?{ticket}").json()["code"] == "bad_ticket"
        monkeypatch.setattr("stream.access.credentials.TICKET_SECONDS", -1)
        assert httpx.get(server.url + url).json()["code"] == "bad_ticket"


def test_the_log_holds_no_secrets() -> None:
    line = '127.0.0.1 - "GET /v1/sessions/x/recording.mp4?ticket=abc.def HTTP/1.1" 200'
    assert masked(line) == '127.0.0.1 - "GET /v1/sessions/x/recording.mp4?ticket=*** HTTP/1.1" 200'
    record = logging.LogRecord("a", 10, "f", 1, "%s asks for %s", ("x", "/c?token=secret&x=1"), None)
    assert MaskSecrets().filter(record)
    assert record.getMessage() == "x asks for /c?token=***&x=1"
    assert masked("farcast.v1, token.secret") == "farcast.v1, token.***"
