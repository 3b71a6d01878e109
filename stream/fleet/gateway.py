"""The address of a fleet: makes sessions on a worker, and says where one is. Media and control never pass here.

Without state of its own: any number of gateways may stand behind a balancer. A worker checks keys and tokens; they go
through here unread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

import httpx
from farcast.errors import FarcastError
from farcast.protocol import parse_request
from fastapi import FastAPI, Query, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import JSONResponse, RedirectResponse, Response

from stream.access.credentials import Access, token_of
from stream.access.guard import Guard
from stream.api import problems
from stream.api.requests import read
from stream.config import ServerConfig
from stream.errors import Busy, NotFound
from stream.metrics import Metrics

from .forward import Answer, send
from .placement import NoPlace, Outcome, PlaceRequest, WorkerView, no_place_after, outcome
from .waiting import FairQueue

ASK_AGAIN_S = 0.3  # between two tries of whoever is first in the queue
MAX_WAIT_S = 60.0


class DirectoryClient(Protocol):
    """`stream.fleet.cluster.RayDirectory`, or a test's."""

    async def candidates(self, request: PlaceRequest) -> tuple[str, list[WorkerView]] | NoPlace: ...
    async def placed(self, ticket: str, worker: str, session: str, request: PlaceRequest) -> None: ...
    async def release(self, ticket: str) -> None: ...
    async def where(self, session: str) -> WorkerView | str | None: ...
    async def overview(self) -> dict[str, Any]: ...
    async def drain(self, worker: str) -> int: ...


class GatewayMetrics:
    """`farcast_fleet_*` for Prometheus."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.placements = Counter("farcast_fleet_placements", "Creations by outcome.", ["outcome"], registry=own)
        self.seconds = Histogram("farcast_fleet_placement_seconds", "From request to answer.", registry=own)
        self.hand_overs = Gauge("farcast_fleet_hand_overs", "Sessions handed over so far.", registry=own)
        self.moving = Gauge("farcast_fleet_moving", "Sessions that wait to be placed again.", registry=own)
        self.load = Gauge("farcast_fleet_worker_load", "Share of the device at the floors.", ["worker"], registry=own)

    def text(self, overview: dict[str, Any]) -> bytes:
        self.hand_overs.set(overview["counts"]["hand_overs"])
        self.moving.set(len(overview["moving"]))
        self.load.clear()
        for worker in overview["workers"]:
            self.load.labels(worker["id"]).set(worker["load"])
        return generate_latest(self.registry)


def no_place(why: NoPlace) -> FarcastError:
    if why.code == "no_model":
        return NotFound(why.message, code=why.code)
    return Busy(why.message, code=why.code, retry_after=why.retry_after)


def wanted(body: bytes, content_type: str, model: str | None) -> PlaceRequest:
    """What a creation asks of a worker. A body that makes no sense is refused by the worker, not here."""
    floor = 1
    if content_type.startswith("application/json"):
        try:
            dial = parse_request(body).dial
            floor = dial.steps or dial.floor
        except FarcastError:
            pass
    return PlaceRequest(model=model, floor=floor)


def create_gateway(directory: DirectoryClient, config: ServerConfig) -> FastAPI:
    """`config`: host, keys, public_urls and sizes as of a server; its model is not used."""
    http = httpx.AsyncClient(
        timeout=httpx.Timeout(config.start_timeout, connect=3.0), trust_env=False,
        limits=httpx.Limits(max_connections=256),
    )  # fmt: skip
    access, metrics, queue = Access(config.api_keys), GatewayMetrics(), FairQueue()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await http.aclose()

    app = FastAPI(title="Farcast fleet", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    refused = Metrics()
    problems.install(app, refused)
    app.add_middleware(Guard, config=config, metrics=refused, problem=problems.problem)

    async def place(request: Request, body: bytes, wish: PlaceRequest) -> tuple[Answer, WorkerView] | NoPlace:
        """Ask one worker after the other. The answer is a session, or a refusal that no other worker would lift."""
        found = await directory.candidates(wish)
        if isinstance(found, NoPlace):
            return found
        ticket, asked = found
        outcomes: list[Outcome] = []
        try:
            for view in asked:
                answer = await send(http, request, view.url, body)
                outcomes.append(outcome(answer.status, str(answer.document.get("code", ""))))
                metrics.placements.labels(outcomes[-1]).inc()
                if outcomes[-1] == "placed":
                    await directory.placed(ticket, view.id, str(answer.document.get("id")), wish)
                    return answer, view
                if outcomes[-1] == "refused":
                    return answer, view
            return no_place_after(outcomes)
        finally:
            if not outcomes or outcomes[-1] != "placed":
                await directory.release(ticket)

    @app.post("/v1/sessions", status_code=201)
    async def create(
        request: Request, model: str | None = None, wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0
    ) -> Response:
        """Start a session on a worker with room; `wait`: seconds to wait in a queue where there is none."""
        body = await read(request, config.max_upload)
        wish = wanted(body, request.headers.get("content-type", ""), model)
        began = time.monotonic()
        found: tuple[Answer, WorkerView] | NoPlace
        if len(queue) and not wait:  # nobody overtakes those who wait
            found = NoPlace("full", "Others wait for a place. Try again later, or wait too with ?wait=30.", 10)
        elif not len(queue):
            found = await place(request, body, wish)
        else:
            found = NoPlace("full", "", 10)
        if isinstance(found, NoPlace) and wait and found.retry_after is not None:
            found = await queued(request, body, wish, began + wait)
        if isinstance(found, NoPlace):
            metrics.placements.labels(found.code).inc()
            raise no_place(found)
        metrics.seconds.observe(time.monotonic() - began)
        return found[0].response(found[1].url)

    async def queued(
        request: Request, body: bytes, wish: PlaceRequest, until: float
    ) -> tuple[Answer, WorkerView] | NoPlace:
        user = token_of(request) or (request.client.host if request.client else "")
        mine = queue.join(user)
        if mine is None:
            return NoPlace("full", "All workers are full, and so is the queue. Try again later.", 30)
        found: tuple[Answer, WorkerView] | NoPlace = NoPlace("full", "No place came free in time. Try again.", 10)
        try:
            while time.monotonic() < until and not await request.is_disconnected():
                if queue.first() is mine:
                    found = await place(request, body, wish)
                    if not isinstance(found, NoPlace):
                        break
                await asyncio.sleep(ASK_AGAIN_S)
            return found
        finally:
            queue.leave(mine)

    async def worker_of(session: str) -> WorkerView:
        """Raises NotFound, and Busy while the session is moved."""
        view = await directory.where(session)
        if view is None:
            raise NotFound("There is no such session. It may have ended; start a new one.", code="no_session")
        if isinstance(view, str):
            raise Busy("The session is moved to another server. Ask again in a moment.", code="recovering",
                retry_after=1)  # fmt: skip
        return view

    @app.get("/v1/sessions/{session_id}")
    @app.delete("/v1/sessions/{session_id}")
    async def session(session_id: str, request: Request) -> Response:
        """Where the session is now, and how it is; or its end."""
        view = await worker_of(session_id)
        return (await send(http, request, view.url)).response(view.url)

    @app.api_route("/v1/sessions/{session_id}/{rest:path}", methods=["GET", "POST", "PATCH", "DELETE"])
    async def elsewhere(session_id: str, rest: str) -> Response:
        """Everything else of a session is done at its worker."""
        view = await worker_of(session_id)
        return RedirectResponse(f"{view.url}/v1/sessions/{session_id}/{rest}", 307)

    @app.get("/v1/model")
    async def about(request: Request, model: str | None = None) -> Response:
        """As one of the workers says it."""
        found = await directory.candidates(PlaceRequest(model=model))
        if isinstance(found, NoPlace):
            raise no_place(found)
        await directory.release(found[0])
        return (await send(http, request, found[1][0].url)).response(found[1][0].url)

    @app.get("/v1/fleet")
    async def fleet(request: Request) -> Response:
        """Workers, their load, and sessions that are moved. Needs a key with the scope `operate`."""
        access.check(token_of(request), "operate")
        return JSONResponse(await directory.overview())

    @app.post("/v1/fleet/workers/{worker}/drain")
    async def drain(worker: str, request: Request) -> Response:
        """Hand the worker's sessions over and end it. Needs a key with the scope `operate`."""
        access.check(token_of(request), "operate")
        known = [one["id"] for one in (await directory.overview())["workers"]]
        if worker not in known:
            raise NotFound(f"There is no worker {worker!r}. There are: {', '.join(known) or 'none'}.", code="no_worker")
        return JSONResponse({"worker": worker, "sessions": await directory.drain(worker)})

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"ok": True})

    @app.get("/readyz")
    async def readyz() -> Response:
        """200 while a worker is ready."""
        workers = (await directory.overview())["workers"]
        ready = sum(worker["ready"] and not worker["draining"] for worker in workers)
        if not ready:
            return problems.problem(503, "no_worker", "No worker is ready.", {"Retry-After": "2"})
        return JSONResponse({"ready": True, "workers": ready})

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(metrics.text(await directory.overview()), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app
