"""Connections that are slow, silent or do not read."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from typing import Any

import httpx
import pytest

from tests.support.running_server import Running, running, wait_for


def address(server: Running) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


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
    monkeypatch.setattr("stream.access.connections.SEND_SECONDS", 0.3)
    with running() as server:
        made = server.create()
        replies = server.manager.sessions[made["id"]].replies
        # Refused at once, and the answer is as long as the question.
        flood = json.dumps({"type": "prompt", "id": "p", "text": "x" * 1900, "unknown": 1}).encode()
        frame = b"\x81\xfe" + len(flood).to_bytes(2, "big") + b"\x00\x00\x00\x00" + flood
        socks = [upgraded(server, made) for _ in range(2)]
        for sock in socks:
            sock.settimeout(60)
            with pytest.raises(ConnectionError):
                for _ in range(3000):
                    sock.sendall(frame * 20)
            sock.close()
        wait_for(lambda: not replies.clients, 10)
        server.delete(made)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_client_that_asks_and_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.access.connections.SEND_SECONDS", 0.3)
    with running() as server, socket.create_connection(address(server)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(60)
        with pytest.raises(ConnectionError):
            for _ in range(20_000):
                sock.sendall(b"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 10)


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
