"""The fleet's actors in a Ray cluster: made here, found here. The only module of the gateway that imports Ray."""

from __future__ import annotations

import asyncio
import os
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from stream.errors import ConfigError

from .directory_actor import DirectoryActor
from .options import DIRECTORY, NAMESPACE, WORKER, FleetOptions
from .placement import NoPlace, PlaceRequest, WorkerView
from .worker import Worker

OBJECT_STORE = 80 * 2**20  # bytes; the smallest that Ray takes, as nothing large goes through it


def connect(address: str) -> None:
    """Join the cluster at `address`, "auto" for the one of this machine. Raises ConfigError."""
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"There is no Ray cluster at {address}: {error} Start one with `ray start --head`.") from None


def start_local(cpus: int) -> None:
    """A cluster of this process, on loopback, that ends with it."""
    ray.init(
        num_cpus=cpus,
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=OBJECT_STORE,
        _node_ip_address="127.0.0.1",
    )


def stop() -> None:
    """Leave the cluster; one that `start_local` made ends."""
    ray.shutdown()


def start_directory(options: FleetOptions) -> Any:
    """The fleet's directory, made where there is none. Returns its handle."""
    return ray.remote(DirectoryActor).options(
        name=DIRECTORY, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, num_cpus=0,
        max_restarts=-1, max_task_retries=-1, max_concurrency=1000,
    ).remote(options)  # fmt: skip


def start_worker(worker: str, options: FleetOptions, directory: Any) -> Any:
    """A worker on a node that has the resources, as soon as there is one; it goes on when this process ends."""
    return ray.remote(Worker).options(
        name=WORKER + worker, namespace=NAMESPACE, lifetime="detached", get_if_exists=True,
        num_gpus=options.gpus, num_cpus=options.cpus, max_restarts=-1, max_concurrency=4,
    ).remote(worker, options, directory)  # fmt: skip


def find_directory() -> Any:
    """Raises ConfigError where no fleet runs."""
    try:
        return ray.get_actor(DIRECTORY, namespace=NAMESPACE)
    except ValueError:
        raise ConfigError("No fleet runs in this cluster. Start one with `farcast up`.") from None


def drain(worker: str, timeout: float = 60.0) -> int:
    """Hand the worker's sessions over and end it. Returns how many it had. Raises ConfigError for an unknown worker."""
    try:
        actor = ray.get_actor(WORKER + worker, namespace=NAMESPACE)
    except ValueError:
        known = sorted(view["id"] for view in ray.get(find_directory().overview.remote())["workers"])
        raise ConfigError(f"There is no worker {worker!r}. There are: {', '.join(known) or 'none'}.") from None
    count: Any = ray.get(actor.drain.remote(), timeout=timeout)
    ray.kill(actor)  # without this Ray would keep its device
    return int(count)


class RayDirectory:
    """The directory as the gateway asks it. The handle survives restarts of the actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def candidates(self, request: PlaceRequest) -> tuple[str, list[WorkerView]] | NoPlace:
        return await self._actor.candidates.remote(request)  # type: ignore[no-any-return]

    async def placed(self, ticket: str, worker: str, session: str, request: PlaceRequest) -> None:
        await self._actor.placed.remote(ticket, worker, session, request)

    async def release(self, ticket: str) -> None:
        await self._actor.release.remote(ticket)

    async def where(self, session: str) -> WorkerView | str | None:
        return await self._actor.where.remote(session)  # type: ignore[no-any-return]

    async def overview(self) -> dict[str, Any]:
        return await self._actor.overview.remote()  # type: ignore[no-any-return]

    async def drain(self, worker: str) -> int:
        return await asyncio.to_thread(drain, worker)
