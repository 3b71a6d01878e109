"""Who may come and what they may do: keys, roles, origins, names, tickets, limits, slow connections."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from stream.api.access import MaskSecrets, masked
from stream.config import ApiKey, RateLimits, ServerConfig
from stream.errors import ConfigError
from tests.support.running_server import Running, running, wait_for

CREATE, OPERATE = "create-key-0123456789", "operate-key-0123456789"
KEYS = (ApiKey.parse(f"create:{CREATE}"), ApiKey.parse(f"operate:{OPERATE}"))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with keys, a page elsewhere that may use it, and a name of its own."""
    with running(
        api_keys=KEYS, allow_origins=("https://friend.example",), public_urls=("https://video.example",)
    ) as run:
        yield run


def create(server: Running, key: str = CREATE, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/sessions", json={"prompt": "a red circle"}, headers={**bearer(key), **headers}, timeout=20
    )


# -- keys


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


# -- roles


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


# -- tokens stay out of addresses


def first(url: str, **options: Any) -> dict[str, Any]:
    with connect(url, **options) as ws:
        message: dict[str, Any] = json.loads(ws.recv(10))
        return message


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
        monkeypatch.setattr("stream.api.access.TICKET_SECONDS", -1)
        assert httpx.get(server.url + url).json()["code"] == "bad_ticket"


def test_the_log_holds_no_secrets() -> None:
    line = '127.0.0.1 - "GET /v1/sessions/x/recording.mp4?ticket=abc.def HTTP/1.1" 200'
    assert masked(line) == '127.0.0.1 - "GET /v1/sessions/x/recording.mp4?ticket=*** HTTP/1.1" 200'
    record = logging.LogRecord("a", 10, "f", 1, "%s asks for %s", ("x", "/c?token=secret&x=1"), None)
    assert MaskSecrets().filter(record)
    assert record.getMessage() == "x asks for /c?token=***&x=1"
    assert masked("farcast.v1, token.secret") == "farcast.v1, token.***"


# -- other pages and other names


def test_pages_of_other_sites_may_not_use_the_server(guarded: Running) -> None:
    assert create(guarded, Origin="https://evil.example").json()["code"] == "foreign_origin"
    assert create(guarded, Origin="null").status_code == 403
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{guarded.url}/v1/sessions", headers=preflight).status_code == 403
    own = create(guarded, Origin=guarded.url)
    assert own.status_code == 201
    friend = create(guarded, Origin="https://friend.example")
    assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (201, "https://friend.example")
    made = own.json()
    with pytest.raises(InvalidStatus):
        first(guarded.socket(made), additional_headers=guarded.headers(made), origin="https://evil.example")  # type: ignore[arg-type]
    guarded.delete(made)
    guarded.delete(friend.json())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""])
def test_a_rebound_name_is_refused(server: Running, host: str) -> None:
    answer = httpx.get(f"{server.url}/v1/model", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["video.example", "localhost:8000", "[::1]:80", "192.168.0.7:8000"])
def test_the_names_and_addresses_of_the_server_are_fine(guarded: Running, host: str) -> None:
    assert httpx.get(f"{guarded.url}/v1/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/model", "/v1/sessions/none", "/nothing", "/metrics"])
def test_every_answer_carries_the_security_headers(server: Running, path: str) -> None:
    headers = httpx.get(server.url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_tools_files_are_not_served(server: Running) -> None:
    for path in ("/package.json", "/tsconfig.json"):
        assert httpx.get(server.url + path).status_code == 404


def test_the_description_names_the_type_of_errors(server: Running) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    for methods in paths.values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and "content" in answer:
                    assert list(answer["content"]) == ["application/problem+json"]


def test_allow_names_every_method(server: Running) -> None:
    made = server.create()
    refused = httpx.put(server.url + made["urls"]["session"])
    assert refused.status_code == 405
    assert {"GET", "DELETE"} <= {name.strip() for name in refused.headers["allow"].split(",")}
    server.delete(made)


# -- limits of one user


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


# -- slow and rude connections


def closed(sock: socket.socket, seconds: float) -> bool:
    sock.settimeout(seconds)
    try:
        return sock.recv(4096) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0"])
def test_a_connection_that_sends_no_whole_head_is_closed(sent: bytes) -> None:
    with running(head_seconds=0.4) as server, socket.create_connection(address(server)) as sock:
        sock.sendall(sent)
        assert closed(sock, 5)


def test_silent_connections_do_not_use_up_the_descriptors() -> None:
    with running(connections=4) as server:
        silent = [socket.create_connection(address(server)) for _ in range(4)]
        with socket.create_connection(address(server)) as refused:
            assert closed(refused, 5)
        for sock in silent:
            sock.close()
        wait_for(lambda: httpx.get(f"{server.url}/healthz", timeout=2).status_code == 200, 5)


def test_a_body_that_stalls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.api.requests.STALL_SECONDS", 0.3)
    with running() as server, socket.create_connection(address(server)) as sock:
        head = "POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        sock.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        sock.settimeout(5)
        assert b" 408 " in sock.recv(4096).split(b"\r\n")[0]


def test_pings_whose_answers_are_not_read_end_the_connection(server: Running) -> None:
    made = server.create()
    with upgraded(server, made) as sock:
        ping = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
        sock.settimeout(20)
        with pytest.raises((ConnectionError, TimeoutError)) as ended:
            for _ in range(3000):
                sock.sendall(ping * 100)
        assert not isinstance(ended.value, TimeoutError)
    server.delete(made)


def test_sockets_that_flood_and_read_nothing_are_dropped_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stream.api.connections.SEND_SECONDS", 0.3)
    with running() as server:
        made = server.create()
        replies = server.manager.sessions[made["id"]].replies
        flood = json.dumps({"type": "rewind", "id": "r" * 60, "chunk": 9_999}).encode()
        frame = b"\x81\xfe" + len(flood).to_bytes(2, "big") + b"\x00\x00\x00\x00" + flood
        socks = [upgraded(server, made) for _ in range(3)]
        for sock in socks:
            sock.settimeout(15)
            with pytest.raises(ConnectionError):
                for _ in range(3000):
                    sock.sendall(frame * 200)
            sock.close()
        wait_for(lambda: not replies.clients, 10)
        server.delete(made)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_request_under_way_when_the_server_ends_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[int] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(f"{url}/v1/sessions", json={"prompt": "x"}, timeout=30).status_code)

    with running("fake?load=4") as server:
        thread = threading.Thread(target=ask, args=(server.url,))
        thread.start()
        time.sleep(1.0)
    thread.join(20)
    assert answers == [503]
    assert "Traceback" not in caplog.text


def upgraded(server: Running, made: dict[str, Any]) -> socket.socket:
    """A control socket whose answers nobody reads."""
    sock = socket.create_connection(address(server))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = (
        f"GET {made['urls']['control']} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {made['token']}\r\n\r\n"
    )
    sock.sendall(request.encode())
    assert b"101" in sock.recv(64)
    return sock


def address(server: Running) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


# -- what once ended in a traceback


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
