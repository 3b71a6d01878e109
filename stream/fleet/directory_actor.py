"""The directory as a named Ray actor: its clock, the hand-over of sessions, and what a restart learns."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import asdict
from typing import Any

import httpx

from stream.state.store import StateStore

from .directory import Directory, Fenced, Orphan, Report
from .options import FleetOptions
from .placement import LEASE_S, NoPlace, PlaceRequest, WorkerView

log = logging.getLogger("farcast.fleet")

LOOK_EVERY = 0.2  # seconds between two looks at leases and orphans
ADOPT_S = 15.0  # for a worker to continue a session
AT_ONCE = 16  # sessions that are handed over at the same time
GAVE_UP = frozenset(("stopped", "cannot_continue", "no_session"))  # answers after which a session is not asked again


class DirectoryActor:
    """Every method answers at once; hand-overs run beside them."""

    def __init__(self, options: FleetOptions) -> None:
        self._options, self._directory = options, Directory()
        self._began = time.monotonic()
        self._looking: asyncio.Task[None] | None = None
        self._read_store = False
        self._http: httpx.AsyncClient | None = None

    # --- of workers

    async def register(self, worker: str, url: str, model: str, weights: str, least_epoch: int) -> int:
        self._watch()
        return self._directory.register(worker, url, model, weights, time.monotonic(), least_epoch)

    async def heartbeat(self, worker: str, epoch: int, report: Report) -> bool:
        """False: register again."""
        self._watch()
        try:
            self._directory.heartbeat(worker, epoch, report, time.monotonic())
        except Fenced:
            return False
        return True

    async def draining(self, worker: str) -> bool:
        try:
            self._directory.draining(worker)
        except KeyError:
            return False
        return True

    async def gone(self, worker: str) -> list[str]:
        return self._directory.gone(worker, time.monotonic())

    # --- of gateways

    async def candidates(self, request: PlaceRequest) -> tuple[str, list[WorkerView]] | NoPlace:
        return self._directory.candidates(request, time.monotonic())

    async def placed(self, ticket: str, worker: str, session: str, request: PlaceRequest) -> None:
        self._directory.placed(ticket, worker, session, request, time.monotonic())

    async def release(self, ticket: str) -> None:
        self._directory.release(ticket)

    async def where(self, session: str) -> WorkerView | str | None:
        found = self._directory.where(session)
        if found is None and not self._read_store:
            return "moving"  # it may be one of those that the store knows
        return found

    async def overview(self) -> dict[str, Any]:
        """For operators: workers, counts, and what is in trouble."""
        now, directory = time.monotonic(), self._directory
        workers = [asdict(view) for view in directory.views]
        for worker in workers:
            worker["age_seconds"] = round(now - worker.pop("seen_at"), 3)
            worker["state_healthy"] = worker["id"] not in directory.unhealthy
        return {"workers": workers, "counts": dict(directory.counts), "moving": directory.moving, "pid": os.getpid()}

    # --- hand-over

    def _watch(self) -> None:
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                now = time.monotonic()
                for worker in self._directory.expire(now):
                    log.warning("worker %s is silent; its sessions are placed again", worker)
                if not self._read_store and now - self._began > LEASE_S:  # all workers that live have reported
                    await self._learn()
                waiting = [orphan for orphan in self._directory.orphans(now) if orphan.asked][:AT_ONCE]
                await asyncio.gather(*(self._hand_over(orphan) for orphan in waiting))
            except Exception:  # the next look tries again
                log.exception("directory")

    async def _learn(self) -> None:
        """Sessions that the store knows and no worker: their worker died while the directory was away."""
        try:
            store = StateStore(self._options.state, shared=True)
            records = await asyncio.to_thread(lambda: list(store.records()))
        except Exception as error:  # of whatever file system it is
            log.warning("the state store %s cannot be read: %r", self._options.state, error)
            return
        for record in records:
            if record.ended is None:
                self._directory.found(record.id, record.epoch, time.monotonic())
        self._read_store = True

    async def _hand_over(self, orphan: Orphan) -> None:
        if self._http is None:
            self._http = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {self._options.key}"}, trust_env=False, timeout=ADOPT_S
            )
        for view in orphan.asked:
            try:
                answer = await self._http.post(f"{view.url}/v1/sessions/{orphan.session}/adopt")
                document = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                log.warning("session %s: %s does not take it: %r", orphan.session, view.id, error)
                continue
            if answer.status_code == 200:
                log.info("session %s goes on on %s", orphan.session, view.id)
                self._directory.adopted(orphan.session, view.id, document["epoch"], time.monotonic())
                return
            if document.get("code") in GAVE_UP:
                log.warning("session %s cannot go on: %s", orphan.session, document.get("detail"))
                self._directory.forget(orphan.session)
                return
