"""Entry point of the engine process."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import time
from multiprocessing.connection import Connection

from models.errors import FarcastError, ModelError

from .backend import Model
from .heartbeat import Heartbeat
from .protocol import EngineOptions, LoadFailed, Ready
from .scheduler import Scheduler

log = logging.getLogger("farcast.engine")


def main(pipe: Connection, options: EngineOptions, heartbeat: Heartbeat) -> None:
    """Returns on `Shutdown`, or when the server is gone."""
    # Ctrl-C, and a SIGTERM to the process group, are the server's to handle: it ends this process by the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(level=options.level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads must not keep a shared core busy
    began = time.monotonic()
    try:
        model = load(options)
        pipe.send(Ready(model.facts, time.monotonic() - began))
        Scheduler(pipe, model, heartbeat, max_lead=options.max_lead, hang_s=options.hang_s).run()
    except FarcastError as error:
        pipe.send(LoadFailed(error.code, str(error)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the server is gone, and so is everybody this process worked for
    except MemoryError:
        log.error("The engine is out of memory.")
        raise SystemExit(1) from None


def load(options: EngineOptions) -> Model:
    """The model, loaded and warm. Raises FarcastError."""
    module, _, name = options.factory.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ModelError(
            f"The engine needs a package that is not installed ({error.name}). Install farcast-server.",
            code="not_installed",
        ) from error
    extra = {name: value for name in ("decoder", "lora") if (value := getattr(options, name))}
    model: Model = factory(options.model, options.device, options.threads, options.execution, **extra)
    return model
