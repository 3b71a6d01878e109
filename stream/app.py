"""The ASGI application: routes, errors, metrics and the page, around one manager."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from farcast.protocol import RenderRequest, SessionRequest
from fastapi import FastAPI, WebSocket
from starlette.responses import JSONResponse, Response

from stream.access.credentials import Access
from stream.access.guard import Guard, origin_of
from stream.access.limiter import Limiter
from stream.score.render_queue import Renders
from stream.session.manager import Manager
from stream.webrtc.viewer import Viewer

from .api import control, operate, pages, problems, recordings, renders, sessions, uploads, whep
from .api.frame_filter import watch_frames
from .api.requests import BodyTimeout
from .config import ServerConfig
from .metrics import Metrics

log = logging.getLogger("farcast")

DESCRIPTION = (
    "Live video that is being generated while you watch. Make a session, watch it over WebRTC (WHEP), "
    "steer it over one WebSocket at /v1/sessions/{id}/control."
)


def create_app(config: ServerConfig) -> FastAPI:
    """The whole server. The engine starts with the application's lifespan and the page is served at once."""
    metrics = Metrics()
    manager = Manager(config, metrics)
    viewers: dict[str, Viewer] = {}
    again = Renders(config)
    access, limiter = Access(config.api_keys, config.root_path), Limiter(config.rates)
    received = uploads.Uploads(config, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        manager.start()
        received.pool.start()  # while the model loads, so that the first picture need not wait for it
        frames = asyncio.create_task(watch_frames(manager, received.filters))
        yield
        frames.cancel()
        await received.close()
        await again.close()
        await asyncio.gather(*(viewer.close("shutdown") for viewer in list(viewers.values())))
        await manager.close()

    app = FastAPI(
        title="Farcast",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.root_path = config.root_path
    app.state.manager, app.state.viewers, app.state.metrics = manager, viewers, metrics
    app.state.renders, app.state.uploads = again, received
    problems.install(app, metrics)
    if config.allow_origins:
        app.add_middleware(
            whep.Cors,
            allow_origins=[o if o == "*" else origin_of(o) for o in config.allow_origins],  # no cookies are used
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
            allow_headers=["Authorization", "Content-Type", "Farcast-Token", "If-Match"],
            expose_headers=["Location", "Link", "ETag", "Accept-Patch", "Retry-After"],
        )
    app.add_middleware(BodyTimeout)
    # The last one added is the outermost.
    app.add_middleware(Guard, config=config, metrics=metrics, problem=problems.problem)
    app.include_router(sessions.routes(manager, config, received, access, limiter))
    app.include_router(operate.routes(manager, access))
    if config.state_shared:
        app.include_router(operate.fleet_routes(manager, access))
    app.include_router(renders.routes(manager, again, config, access))
    app.include_router(whep.routes(manager, config, metrics, viewers))
    app.include_router(recordings.routes(manager, access))
    _health(app, manager, viewers, metrics)
    _describe(app)

    @app.websocket("/v1/sessions/{session_id}/control")
    async def steer(socket: WebSocket, session_id: str) -> None:
        await control.serve(socket, session_id, manager, metrics, limiter, received.filters)

    pages.install(app)
    return app


def _health(app: FastAPI, manager: Manager, viewers: dict[str, Viewer], metrics: Metrics) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> Response:
        """The server answers."""
        return JSONResponse({"ok": True})

    @app.get("/readyz", tags=["health"])
    async def readyz() -> Response:
        """The model is loaded (200) or not (503)."""
        engine = manager.engine
        if manager.draining:
            return problems.problem(503, "draining", "The server is shutting down.")
        if engine.alive and engine.facts is not None:
            return JSONResponse({"ready": True, "model": engine.facts.name, "seconds": round(engine.ready_seconds, 3)})
        if engine.failure is not None:
            return problems.problem(503, engine.failure.code, engine.failure.message)
        return problems.problem(503, "loading", "The model is loading.", {"Retry-After": "1"})

    @app.get("/metrics", tags=["health"])
    async def prometheus() -> Response:
        """For Prometheus."""
        metrics.tasks.set(len(asyncio.all_tasks()))
        metrics.ready.set(manager.engine.alive)
        metrics.viewers.set(sum(s.viewers for s in manager.sessions.values()))
        encodings = [name for s in manager.sessions.values() for _, name in s.broadcast.encodings]
        for name in ("full", "low"):
            metrics.encodings.labels(name).set(encodings.count(name))
        for state in ("starting", "live", "paused", "recovering", "stopped", "failed"):
            metrics.sessions.labels(state).set(sum(s.state == state for s in manager.sessions.values()))
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _describe(app: FastAPI) -> None:
    """Bodies that are read by hand are in the API description too."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        schema = original()
        models = schema.setdefault("components", {}).setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; here every error is a Problem
            models.pop(name, None)
        for operation in (operation for methods in schema["paths"].values() for operation in methods.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            for status, answer in operation["responses"].items():
                if status >= "400" and "application/json" in answer.get("content", {}):
                    answer["content"] = {problems.MEDIA_TYPE: answer["content"]["application/json"]}
        for body in (SessionRequest, RenderRequest):
            if body.__name__ not in models:
                request = body.model_json_schema(ref_template="#/components/schemas/{model}")
                models.update(request.pop("$defs", {}))
                models[body.__name__] = request
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
