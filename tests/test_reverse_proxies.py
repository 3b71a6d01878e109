"""deploy/nginx.conf and deploy/Caddyfile, in Debian's nginx and Caddy, before a running server under a prefix."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import farcast
import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.reverse_proxies import Started, caddy, nginx, program
from tests.support.running_server import Running, running, wait_for
from tests.support.whep_peer import SDP, Peer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(root_path="/farcast") as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30, "the model is loaded")
        yield run


@pytest.fixture(scope="module", params=[nginx, caddy], ids=lambda start: start.__name__)
def before(
    request: pytest.FixtureRequest, server: Running, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    name = request.param.__name__
    if program(name) is None:
        pytest.skip(f"{name} is not installed: run requirements/players.sh as root, or apt-get install {name}")
    folder: Path = tmp_path_factory.mktemp(name)
    with request.param(urlsplit(server.url).netloc, folder) as started:
        yield started


@pytest.fixture
def http(before: Started) -> Iterator[httpx.Client]:
    origin = before.url.removesuffix("/farcast/")
    with httpx.Client(base_url=origin, verify=before.verify, timeout=20) as client:
        yield client


def made(http: httpx.Client, **more: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A session through the proxy, and the headers that steer it."""
    answer = http.post("/farcast/v1/sessions", json={"prompt": "a red circle", **more})
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session, {"Authorization": f"Bearer {session['token']}"}


def test_the_page_and_its_files_are_under_the_prefix(http: httpx.Client) -> None:
    page = http.get("/farcast/")
    assert page.status_code == 200
    assert "js/main.js" in page.text
    assert http.get("/farcast/js/main.js").status_code == 200
    assert http.get("/farcast").headers["location"].endswith("/farcast/")
    assert http.get("/farcast/readyz").status_code == 200
    assert http.get("/farcast/metrics").status_code == 403


async def test_steering_and_watching(before: Started) -> None:
    """The control socket and the picture, by the client library."""
    async with farcast.connect(before.url, prompt="a red circle", verify=before.verify) as live:
        assert (await live.prompt("a blue star")).text == "a blue star"
        async with asyncio.timeout(15):
            async for frame in live.frames():
                assert frame.image.ndim == 3
                break


async def test_a_whep_player(before: Started) -> None:
    """A player that knows no prefix follows the addresses it is given."""
    peer = Peer()
    origin = before.url.removesuffix("/farcast/")
    async with httpx.AsyncClient(base_url=origin, verify=before.verify, timeout=20) as http:
        answer = await http.post("/farcast/v1/sessions", json={"prompt": "a red circle"})
        headers = {"Authorization": f"Bearer {answer.json()['token']}"}
        offer = await peer.offer()
        await peer.take(await http.post(answer.json()["urls"]["whep"], content=offer, headers={**SDP, **headers}))
        try:
            await peer.frame()
            assert peer.location.startswith("/farcast/")
        finally:
            await peer.peer.close()
            assert (await http.delete(peer.location)).status_code == 200
            await http.delete(answer.json()["urls"]["session"], headers=headers)
    secret = peer.location.rpartition("/")[2]
    assert secret not in before.logged(), "whoever knows a viewer's name can end it"


def test_a_picture_of_many_megabytes(http: httpx.Client) -> None:
    session, headers = made(http)
    noise = np.random.default_rng(0).integers(0, 255, (1400, 1400, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 5_000_000, "more than nginx takes by itself"
    files = {"image": ("a.png", file.getvalue(), "image/png")}
    answer = http.post(session["urls"]["image"], files=files, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    http.delete(session["urls"]["session"], headers=headers)


async def test_a_part_of_a_recording_and_nothing_secret_in_the_log(before: Started, server: Running) -> None:
    async with farcast.connect(before.url, prompt="a red circle", verify=before.verify) as live:
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                async for _ in live.frames():
                    pass
        origin = before.url.removesuffix("/farcast/")
        token = live.info.token
        headers = {"Authorization": f"Bearer {token}"}
        urls = live.info.urls
        assert urls.recording is not None
        async with httpx.AsyncClient(base_url=origin, verify=before.verify, timeout=20) as http:
            part = await http.get(urls.recording, headers={**headers, "Range": "bytes=0-99"})
            assert part.status_code == 206
            assert len(part.content) == 100
            assert part.content[4:8] == b"ftyp"
            answer = await http.post(f"{urls.recording.removesuffix('.mp4')}/ticket", headers=headers)
            assert answer.status_code in (200, 201), answer.text
            address = next(value for value in answer.json().values() if "ticket=" in str(value))
            assert (await http.get(address, headers={"Range": "bytes=0-9"})).status_code == 206
    await asyncio.sleep(0.3)
    logged = before.logged()
    assert "/farcast/v1/sessions" in logged
    assert token not in logged
    assert address.partition("ticket=")[2] not in logged
