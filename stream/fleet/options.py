"""What a fleet is started with, and the names under which its actors are found."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE = "farcast"
DIRECTORY = "farcast-directory"
WORKER = "farcast-worker-"  # and its id


@dataclass(frozen=True)
class FleetOptions:
    """state: the URL that all workers share. key: the operator's key, the same everywhere. host: the address that
    workers listen on. serve: further options of `farcast serve`, the same for every worker. gpus, cpus: of a worker."""

    state: str
    key: str
    host: str = "127.0.0.1"
    serve: tuple[str, ...] = ()
    gpus: float = 0.0
    cpus: float = 1.0
