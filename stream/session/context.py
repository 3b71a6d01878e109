"""What all sessions of a server share."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

from stream.config import ServerConfig
from stream.engine.host.process import EngineProcess
from stream.engine.protocol import ModelFacts
from stream.metrics import Metrics
from stream.recording import Recordings
from stream.state.writer import StateWriter


@dataclass(frozen=True)
class ServerContext:
    """`facts`: of the loaded model; `executor`: the threads that encode what viewers wait for."""

    facts: ModelFacts
    config: ServerConfig
    engine: EngineProcess
    executor: Executor
    metrics: Metrics
    recordings: Recordings
    state: StateWriter | None = None  # None: sessions end with the server
