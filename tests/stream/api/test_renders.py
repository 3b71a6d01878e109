"""Renders over HTTP: one at a time in a process of its own, bounded, cancellable, for those who have the token."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from tests.support.running_server import Running, running, wait_for


@pytest.fixture(scope="module")
def slow() -> Iterator[Running]:
    """A server whose renders take a fifth of a second a chunk and step."""
    with running("fake?step=0.002&render=0.2") as run:
        wait_for(lambda: httpx.get(f"{run.url}/readyz").status_code == 200, 60)
        yield run


class Person:
    """Somebody with a session and its token."""

    def __init__(self, server: Running, prompt: str = "a red circle", chunks: int = 2) -> None:
        self.server, self.made = server, server.create(prompt)
        self.token = self.made["token"]
        self.renders = server.url + self.made["urls"]["renders"]
        wait_for(lambda: self.score()["chunks"] >= chunks, 30)

    def score(self) -> dict[str, Any]:
        score: dict[str, Any] = self.ask("GET", self.server.url + self.made["urls"]["score"]).json()
        return score

    def ask(self, method: str, url: str, token: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.request(method, url, headers=headers, timeout=20, **more)

    def render(self, steps: int | None) -> str:
        """The address of a new render."""
        answer = self.ask("POST", self.renders, json={"steps": steps})
        assert answer.status_code == 202, answer.text
        assert answer.json()["steps"] == steps
        return self.server.url + answer.headers["Location"]

    def until(self, url: str, *states: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(self.ask("GET", url).json())
            return found["state"] in states

        wait_for(there, 60, f"render {states}")
        return found

    def leave(self) -> None:
        self.server.delete(self.made)


@pytest.fixture
def person(slow: Running) -> Iterator[Person]:
    person = Person(slow)
    yield person
    person.leave()


@pytest.mark.slow
def test_a_take_is_rendered_and_can_be_downloaded(person: Person, tmp_path: Path) -> None:
    url = person.render(None)
    running = person.until(url, "running", "done")
    assert running["frames"] == 1 + 12 * (running["frames"] // 12)
    done = person.until(url, "done", "failed")
    assert done["state"] == "done", done
    assert done["progress"] == 1.0
    assert done["exact"] is True
    assert done["error"] is None
    video = person.ask("GET", person.server.url + done["url"])
    assert video.headers["content-type"] == "video/mp4"
    (tmp_path / "take.mp4").write_bytes(video.content)
    with av.open(str(tmp_path / "take.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == done["frames"]
    part = person.ask("GET", person.server.url + done["url"] + "?", token=person.made["view_token"])
    assert part.status_code == 200, "whoever may watch the take may have it"


@pytest.mark.slow
def test_one_at_a_time_and_a_short_queue(person: Person) -> None:
    urls = [person.render(3)]
    person.until(urls[0], "running")
    urls += [person.render(1) for _ in range(4)]
    assert person.ask("GET", urls[-1]).json()["state"] == "queued"
    refused = person.ask("POST", person.renders, json={"steps": 1})
    assert refused.status_code == 503
    assert refused.json()["code"] == "full"
    assert int(refused.headers["Retry-After"]) > 0
    too_early = person.ask("GET", urls[-1] + "/video.mp4")
    assert too_early.status_code == 409
    for url in urls[1:]:
        assert person.ask("DELETE", url).status_code == 204
    assert person.ask("DELETE", urls[0]).status_code == 204


@pytest.mark.slow
def test_a_cancelled_render_makes_room_and_leaves_nothing(person: Person) -> None:
    long, next_one = person.render(50), person.render(1)
    person.until(long, "running")
    began = time.monotonic()
    assert person.ask("DELETE", long).status_code == 204
    assert person.ask("GET", long).status_code == 404
    assert person.until(next_one, "done", "failed")["state"] == "done"
    assert time.monotonic() - began < 60
    renders = person.server.app.state.renders
    assert [path.suffix for path in renders._folder.iterdir()].count(".part") == 0


@pytest.mark.slow
def test_a_render_outlives_its_session_and_asks_for_its_token(slow: Running) -> None:
    person = Person(slow)
    url = person.render(1)
    person.leave()
    other = Person(slow)
    assert person.ask("GET", url, token=other.token).status_code == 401
    assert httpx.get(url).status_code == 401
    assert person.until(url, "done", "failed")["state"] == "done"
    other.leave()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"steps": 0}, "`steps` must be a whole number from 1 to 50"),
        ({"steps": 51}, "`steps` must be"),
        ({"steps": "many"}, "`steps` must be"),
        ({"stepz": 3}, "`stepz` is not a known field"),
        ([], "JSON object"),
    ],
)
def test_nonsense_is_refused_in_words(person: Person, body: Any, says: str) -> None:
    answer = person.ask("POST", person.renders, json=body)
    assert answer.status_code == 400
    assert says in answer.json()["detail"]


@pytest.mark.slow
def test_what_goes_wrong_in_the_process_is_told(slow: Running) -> None:
    refused = Person(slow, "unrenderable red")
    failed = refused.until(refused.render(2), "failed", "done")
    assert failed["state"] == "failed"
    assert failed["error"] == "The score was made with another model."
    assert failed["url"] is None
    refused.leave()


@pytest.mark.slow
def test_a_process_that_dies_fails_its_render_only(slow: Running) -> None:
    person = Person(slow)
    renders = slow.app.state.renders
    url = person.render(50)
    person.until(url, "running")
    wait_for(lambda: renders.pid is not None)
    import os
    import signal

    os.kill(renders.pid, signal.SIGKILL)
    failed = person.until(url, "failed", "done")
    assert failed["state"] == "failed"
    assert "ended unexpectedly" in failed["error"]
    assert person.until(person.render(1), "done", "failed")["state"] == "done"
    person.leave()


@pytest.mark.slow
def test_a_server_may_render_nothing_or_only_short_takes() -> None:
    with running(renders=False) as server:
        made = server.create()
        assert made["urls"].get("renders") is None
        answer = httpx.post(f"{server.url}{made['urls']['session']}/renders", headers=server.headers(made), json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "off")
    with running(render_seconds=0.01) as server:
        person = Person(server)
        answer = person.ask("POST", person.renders, json={})
        assert (answer.status_code, answer.json()["code"]) == (413, "take_too_long")
