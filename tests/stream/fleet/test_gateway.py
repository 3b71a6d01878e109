"""The gateway over a directory without Ray, and workers that answer as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from stream.config import ApiKey, ServerConfig
from stream.fleet import gateway
from stream.fleet.directory import Directory, Report
from stream.fleet.forward import Answer
from stream.fleet.placement import NoPlace, PlaceRequest, WorkerView
from stream.fleet.waiting import FairQueue

KEY = "operator-0123456789"
OPERATOR = {"Authorization": f"Bearer {KEY}"}
CREATED = {"id": "s1", "urls": {"session": "/v1/sessions/s1", "control": "/v1/sessions/s1/control", "renders": None}}
FULL = {"code": "full", "detail": "No room."}
BODY = {"prompt": "a red circle"}


class LocalDirectory:
    """The state machine in this process, at second 0."""

    def __init__(self, *workers: str) -> None:
        self.inner = Directory()
        for worker in workers:
            epoch = self.inner.register(worker, f"http://{worker}", "m", "w", 0.0)
            self.inner.heartbeat(worker, epoch, Report(0.0, 0.1, 0.1, {}, 8, True, False, True, "m", "w"), 0.0)

    async def candidates(self, request: PlaceRequest) -> tuple[str, list[WorkerView]] | NoPlace:
        return self.inner.candidates(request, 0.0)

    async def placed(self, ticket: str, worker: str, session: str, request: PlaceRequest) -> None:
        self.inner.placed(ticket, worker, session, request, 0.0)

    async def release(self, ticket: str) -> None:
        self.inner.release(ticket)

    async def where(self, session: str) -> WorkerView | str | None:
        return self.inner.where(session)

    async def overview(self) -> dict[str, Any]:
        workers = [{"id": view.id, "load": view.load, "ready": True, "draining": False} for view in self.inner.views]
        return {"workers": workers, "counts": self.inner.counts, "moving": self.inner.moving}

    async def drain(self, worker: str) -> int:
        self.inner.draining(worker)
        return 0


Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """`client(directory, answers)`; answers: worker's address -> (status, document), status None = no answer."""

    def make(directory: LocalDirectory, answers: dict[str, tuple[int | None, dict[str, Any]]]) -> httpx.AsyncClient:
        async def send(http: Any, request: Any, worker_url: str, body: bytes = b"") -> Answer:
            status, document = answers[worker_url]
            if status is None:
                return Answer(None)
            return Answer(status, json.dumps(document).encode(), httpx.Headers({"content-type": "application/json"}))

        monkeypatch.setattr(gateway, "send", send)
        app = gateway.create_gateway(directory, ServerConfig(api_keys=(ApiKey(KEY),)))
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    return make


async def test_addresses_are_the_workers(client: Client) -> None:
    directory = LocalDirectory("a")
    async with client(directory, {"http://a": (201, CREATED)}) as http:
        made = await http.post("/v1/sessions", json=BODY)
        assert made.status_code == 201
        assert made.json()["urls"]["control"] == "http://a/v1/sessions/s1/control"
        assert made.json()["urls"]["renders"] is None
        moved = await http.get("/v1/sessions/s1/score")
        assert (moved.status_code, moved.headers["location"]) == (307, "http://a/v1/sessions/s1/score")
        directory.inner.gone("a", 1.0)
        waiting = await http.get("/v1/sessions/s1")
        assert (waiting.status_code, waiting.json()["code"]) == (503, "recovering")
        assert (await http.get("/v1/sessions/nobody")).status_code == 404


async def test_a_refusal_and_a_sick_worker_try_the_next(client: Client) -> None:
    answers: dict[str, tuple[int | None, dict[str, Any]]] = {
        "http://a": (503, FULL), "http://b": (None, {}), "http://c": (201, CREATED),
    }  # fmt: skip
    async with client(LocalDirectory("a", "b", "c"), answers) as http:
        for _ in range(4):
            assert (await http.post("/v1/sessions", json=BODY)).status_code == 201


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        ((503, FULL), 503, "full"),
        ((None, {}), 503, "no_worker"),
        ((400, {"code": "invalid"}), 400, "invalid"),
        ((401, {"code": "no_key"}), 401, "no_key"),
    ],
)
async def test_no_worker_takes_it(client: Client, answer: tuple[int | None, dict[str, Any]], status: int, code: str
) -> None:  # fmt: skip
    directory = LocalDirectory("a", "b")
    async with client(directory, {"http://a": answer, "http://b": answer}) as http:
        made = await http.post("/v1/sessions", json=BODY)
        assert (made.status_code, made.json()["code"]) == (status, code)
        assert ("retry-after" in made.headers) == (status == 503)
        assert [view.sessions for view in directory.inner.views] == [0, 0], "nothing stays reserved"
        other = await http.post("/v1/sessions?model=other", json=BODY)
        assert (other.status_code, other.json()["code"]) == (404, "no_model")


async def test_who_waits_gets_the_place_that_comes_free(client: Client) -> None:
    answers: dict[str, tuple[int | None, dict[str, Any]]] = {"http://a": (503, FULL)}
    async with client(LocalDirectory("a"), answers) as http:
        waiting = asyncio.create_task(http.post("/v1/sessions?wait=10", json=BODY))
        await asyncio.sleep(0.1)
        hasty = await http.post("/v1/sessions", json=BODY)
        assert (hasty.status_code, hasty.json()["code"]) == (503, "full"), "nobody overtakes"
        answers["http://a"] = (201, CREATED)
        assert (await waiting).status_code == 201
        answers["http://a"] = (503, FULL)
        assert (await http.post("/v1/sessions?wait=0.5", json=BODY)).status_code == 503
        assert (await http.post("/v1/sessions?wait=9999", json=BODY)).status_code == 400


async def test_the_operators_part_needs_the_key_of_this_fleet(client: Client) -> None:
    async with client(LocalDirectory("a"), {}) as http:
        for path in ("/v1/fleet", "/v1/fleet/workers/a/drain"):
            method = "POST" if "drain" in path else "GET"
            for headers in ({}, {"Authorization": "Bearer key-of-another-fleet"}):
                assert (await http.request(method, path, headers=headers)).status_code == 401
            assert (await http.request(method, path, headers=OPERATOR)).status_code == 200
        unknown = await http.post("/v1/fleet/workers/z/drain", headers=OPERATOR)
        assert unknown.status_code == 404
        assert "There are: a" in unknown.json()["detail"]
        assert "farcast_fleet_worker_load" in (await http.get("/metrics")).text


def test_users_take_turns() -> None:
    queue = FairQueue(limit=5, each=3)
    first = [queue.join(user) for user in ("x", "x", "x", "y")]
    assert queue.join("x") is None
    served = []
    while (one := queue.first()) is not None:
        served.append(one.user)
        queue.leave(one)
    assert served == ["x", "y", "x", "x"]
    assert all(first)
