"""Connections that end at a bad moment: in the middle of an upload or a download, and with the server itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from urllib.parse import urlsplit

import farcast
import httpx
import pytest
from farcast import events

from tests.support.running_server import Running, running, wait_for


def half_a_request(server: Running, path: str, token: str, kind: str, body: bytes, claims: int) -> socket.socket:
    """A request that says it is longer than what comes."""
    parts = urlsplit(server.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
    connection.sendall(f"{head}Content-Length: {claims}\r\n\r\n".encode() + body)
    return connection


FORM = "multipart/form-data; boundary=x"
BEGINNING = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n\x89PNG'


@pytest.mark.parametrize(
    ("part", "kind", "body"),
    [("/image", FORM, BEGINNING), ("/image", FORM, b""), ("/renders", "application/json", b'{"ste')],
)
def test_an_upload_that_breaks_off_disturbs_nobody(
    server: Running, caplog: pytest.LogCaptureFixture, part: str, kind: str, body: bytes
) -> None:
    made = server.create()
    try:
        for _ in range(3):
            half_a_request(server, made["urls"]["session"] + part, made["token"], kind, body, 100_000).close()
        time.sleep(0.3)
        looked = httpx.get(server.url + made["urls"]["session"], headers=server.headers(made))
        assert looked.json()["state"] in ("starting", "live")
        wrong = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert wrong == [], "no traceback in the log"
    finally:
        server.delete(made)


def test_a_session_that_is_half_asked_for_is_not_made(server: Running) -> None:
    before = len(server.manager.sessions)
    half_a_request(server, "/v1/sessions", "", "application/json", b'{"prompt": "a red', 500).close()
    time.sleep(0.3)
    assert len(server.manager.sessions) == before


@pytest.mark.slow
async def test_the_client_says_that_an_upload_broke_off(server: Running) -> None:
    """Through a relay that cuts the line after a few bytes of the picture."""
    parts = urlsplit(server.url)
    cut = 0

    relays: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        relays.add(task)
        onward, back = await asyncio.open_connection(parts.hostname, parts.port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, upload: bool) -> None:
            nonlocal cut
            seen = 0
            with contextlib.suppress(ConnectionError):
                while data := await source.read(4096):
                    seen += len(data)
                    if upload and seen > 20_000:
                        cut += 1
                        break
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, back, True), copy(onward, writer, False))
        for side in (back, writer):
            side.close()
            with contextlib.suppress(ConnectionError):
                await side.wait_closed()

    line = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = line.sockets[0].getsockname()[1]
    async with line, farcast.connect(f"http://127.0.0.1:{port}", prompt="a red circle", media=False) as live:
        with pytest.raises(farcast.ConnectionFailed):
            await live.image(b"\x89PNG" + bytes(300_000))
        assert cut == 1
        assert (await live.prompt("a blue star")).text == "a blue star", "and the session goes on"
    await asyncio.wait(relays, timeout=10)


@pytest.mark.slow
async def test_a_server_that_restarts_ends_the_session_in_words() -> None:
    with running() as first:
        port = int(first.url.rsplit(":", 1)[1])
        await asyncio.to_thread(wait_for, lambda: httpx.get(f"{first.url}/readyz").status_code == 200, 30)
        context = farcast.connect(first.url, prompt="a red circle", media=False, reconnect_timeout=60)
        live = await context.__aenter__()
        happenings = live.events()
    with running(at=port) as second:
        await asyncio.to_thread(wait_for, lambda: httpx.get(f"{second.url}/readyz").status_code == 200, 30)
        seen = []
        with contextlib.suppress(farcast.SessionEnded):
            async with asyncio.timeout(30):
                async for event in happenings:
                    seen.append(event)
        with pytest.raises(farcast.SessionEnded) as ended:
            await live.prompt("a blue star")
        assert ended.value.message
        await context.__aexit__(None, None, None)
        assert any(isinstance(event, events.Session | events.Disconnected | events.Error) for event in seen)
        async with farcast.connect(second.url, prompt="a blue star", media=False) as again:
            assert again.session.prompt == "a blue star"
