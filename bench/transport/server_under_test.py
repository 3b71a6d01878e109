"""The server under test: Farcast with a test pattern. Also tells when which frame left, at /lab/...

`python -m bench.transport.server_under_test`: a process of its own, so that its CPU time and memory can be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import logging
import threading
import time
from collections import OrderedDict
from typing import Any, ClassVar

import uvicorn
from fastapi import FastAPI

from stream.api.control import MAX_MESSAGE
from stream.app import create_app
from stream.config import ServerConfig
from stream.server import Server, announce, listen
from stream.session.chunk_frames import Frame
from stream.session.session import Session
from stream.video.playout import Due

STAMPS = 4096  # newest frames of a session whose times are kept


def stamp_frames() -> dict[str, OrderedDict[int, float]]:
    """From now on every session notes the wall clock at which each frame leaves for the encoder."""
    stamps: dict[str, OrderedDict[int, float]] = {}
    show = Session._show

    def stamped(self: Session, due: Due[Frame], now: float) -> None:
        own = stamps.setdefault(self.id, OrderedDict())
        own[due.item.index] = time.time()
        if len(own) > STAMPS:
            own.popitem(last=False)
        show(self, due, now)

    Session._show = stamped  # type: ignore[method-assign]
    return stamps


MALLINFO = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Mallinfo2(ctypes.Structure):
    """See mallinfo2(3)."""

    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in MALLINFO.split()]


def allocated() -> int:
    """Bytes that are handed out by malloc; what the process has beyond it are holes. 0 where it cannot be known."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):  # not glibc, or one before 2.33
        return 0
    mallinfo2.restype = Mallinfo2
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def add_lab(app: FastAPI, stamps: dict[str, OrderedDict[int, float]]) -> None:
    """What the lab wants to know. To be added before the page takes all other paths."""

    async def frames(session: str) -> dict[int, float]:
        return dict(stamps.get(session, {}))

    async def state(session: str) -> dict[str, Any]:
        found: Session = app.state.manager.sessions[session]
        counters, recording = found.broadcast.counters, found.recording
        return {
            "frame": found.frame,
            "viewers": found.viewers,
            "watching": found.broadcast.watching,
            "encoded": counters.frames,
            "encode_seconds": counters.encode_seconds,
            "keyframes": counters.keyframes,
            "late_frames": counters.late_frames,
            "stale_packets": counters.stale_packets,
            "rates": {"/".join(key): rate for key, rate in found.broadcast.encodings.items()},
            "recorded": 0 if recording is None else recording.size,
        }

    async def cpu() -> float:
        return time.process_time()

    async def insides() -> dict[str, int]:
        gc.collect()
        return {
            "allocated": allocated(),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "objects": len(gc.get_objects()),
            "viewers": len(app.state.viewers),
        }

    app.add_api_route("/lab/frames/{session}", frames)
    app.add_api_route("/lab/state/{session}", state)
    app.add_api_route("/lab/insides", insides)
    app.add_api_route("/lab/cpu", cpu)
    routes = app.router.routes
    routes[:] = routes[-4:] + routes[:-4]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--ice-address", action="append", default=[])
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    stamps = stamp_frames()
    config = ServerConfig(
        host=options.host,
        open=True,
        port=0,
        engine="bench.transport.pattern_model:open_model",
        model=f"pattern?width={options.width}&height={options.height}",
        record=options.record,
        ice_addresses=tuple(options.ice_address),
        idle_lifetime=3600.0,
        viewer_grace=3600.0,
        max_viewers=256,
    )
    asyncio.run(serve(config, stamps))


async def serve(config: ServerConfig, stamps: dict[str, OrderedDict[int, float]]) -> None:
    sock = listen(config.host, config.port)
    app = create_app(config)
    add_lab(app, stamps)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        timeout_graceful_shutdown=2,
    )
    server = Server(settings)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    host = config.host if config.host != "0.0.0.0" else "127.0.0.1"
    failure = await announce(server, app.state.manager, f"http://{host}:{sock.getsockname()[1]}/")
    await serving
    if failure is not None:
        raise failure


if __name__ == "__main__":
    main()
