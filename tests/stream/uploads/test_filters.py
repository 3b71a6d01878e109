"""Content filters on a running server: a prompt, a picture, a frame."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from stream.errors import ConfigError, Unprocessable
from stream.uploads.filters import Filters, Subject, load_filter
from tests.support.media_files import picture
from tests.support.running_server import Running, running, wait_for

NAME = "tests.support.example_filter:refuse"


@pytest.fixture(scope="module")
def filtered() -> Iterator[Running]:
    with running(filters=(NAME,)) as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 30)
        yield run


def test_a_prompt_is_refused(filtered: Running) -> None:
    answer = httpx.post(f"{filtered.url}/v1/sessions", json={"prompt": "a secret"}, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (422, "filtered")
    made = filtered.create()
    with connect(filtered.socket(made), additional_headers=filtered.headers(made)) as socket:
        socket.send(json.dumps({"type": "prompt", "id": "1", "text": "a secret"}))
        while (message := json.loads(socket.recv(10)))["type"] != "prompt_rejected":
            pass
    assert (message["re"], message["code"], message["message"]) == ("1", "filtered", "This word is not allowed here.")
    filtered.delete(made)


def test_a_picture_is_refused(filtered: Running) -> None:
    form = {"request": (None, '{"prompt": "a"}'), "image": ("a.png", picture(colour="lime"))}
    answer = httpx.post(f"{filtered.url}/v1/sessions", files=form, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (422, "filtered")
    assert "green" in answer.json()["detail"]


def test_a_frame_ends_its_session_with_the_reason(filtered: Running) -> None:
    other, made = filtered.create("a red circle"), filtered.create("a green circle")
    session = filtered.manager.sessions[made["id"]]
    wait_for(lambda: session.over, 20)
    assert "this green is not allowed" in session.reason
    assert not filtered.manager.sessions[other["id"]].over
    filtered.delete(other)


async def test_a_broken_filter_lets_nothing_through() -> None:
    filters = Filters(("tests.support.example_filter:broken",))
    with pytest.raises(Unprocessable, match="failed"):
        await filters.check(Subject("prompt", text="a"))
    filters.close()


def test_a_filter_that_is_not_there_is_said_at_the_start() -> None:
    for name in ("nowhere:refuse", "tests.support.example_filter:nothing", "x", NAME.replace(":refuse", ":__doc__")):
        with pytest.raises(ConfigError, match="--filter"):
            load_filter(name)
