"""Takes rendered again for the people of a server: one at a time, in a process of its own that lets everybody else go
first, with a short queue and a few results kept for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from farcast.protocol import RenderInfo

from models.media.write import part_of
from stream.config import ServerConfig
from stream.errors import Busy, Conflict, NotFound, TooLarge, Unauthorised

from .log import to_json

log = logging.getLogger("farcast.renders")

QUEUED = 8
QUEUED_EACH = 4  # of one session
KEPT = 8  # finished ones, the newest
KEPT_SECONDS = 3600.0
LINE = 64 * 1024  # of the process's reports


@dataclass
class Render:
    """One take on its way to an MP4."""

    id: str
    steps: int | None
    frames: int
    token: str  # of its session; who has it may cancel the render
    view_token: str  # who has it may see the render
    score: Path
    video: Path
    state: Literal["queued", "running", "done", "failed"] = "queued"
    progress: float = 0.0
    error: str | None = None
    exact: bool | None = None
    ended_at: float | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def info(self) -> RenderInfo:
        return RenderInfo(
            id=self.id,
            state=self.state,
            progress=round(self.progress, 4),
            steps=self.steps,
            frames=self.frames,
            url=f"/v1/renders/{self.id}/video.mp4" if self.state == "done" else None,
            error=self.error,
            exact=self.exact,
        )

    def end(self, state: Literal["done", "failed"], error: str | None = None) -> None:
        self.state, self.error, self.ended_at = state, error, time.monotonic()
        self.score.unlink(missing_ok=True)
        if state == "failed":
            self.video.unlink(missing_ok=True)
        self.done.set()


class Renders:
    """All renders of a server. Everything here runs on the event loop; the work is done elsewhere."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._renders: dict[str, Render] = {}
        self._queue: list[Render] = []
        self._running: Render | None = None
        self._worker: asyncio.Task[None] | None = None
        self._folder: Path | None = None
        self.pid: int | None = None  # of the process that renders now

    async def add(
        self, document: dict[str, Any], frames: int, steps: int | None, token: str, view_token: str
    ) -> Render:
        """Queue a take. Raises Conflict when there is nothing to render, TooLarge, Busy."""
        self._forget()
        if not self.config.renders:
            raise Conflict(
                "This server does not render takes. Download the score and use `farcast render`.", code="off"
            )
        if not document["chunks"]:
            raise Conflict("The take has no finished chunk yet. Wait until there is a picture.", code="empty_take")
        seconds = frames / document["fps"]
        if seconds > self.config.render_seconds:
            raise TooLarge(
                f"The take is {seconds:.0f} s long; this server renders up to {self.config.render_seconds:.0f} s. "
                "Download the score and use `farcast render`.",
                code="take_too_long",
            )
        if sum(waiting.token == token for waiting in self._queue) >= QUEUED_EACH:
            raise Busy("Renders of this session wait already. Ask again when one is done.", code="full", retry_after=30)
        if len(self._queue) >= QUEUED:
            raise Busy(f"{QUEUED} takes wait to be rendered already. Try again later.", code="full", retry_after=30)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="farcast-renders-"))
        name = secrets.token_urlsafe(12)
        files = (self._folder / f"{name}.json", self._folder / f"{name}.mp4")
        render = Render(name, steps, frames, token, view_token, *files)
        self._renders[name] = render
        self._queue.append(render)
        try:
            await asyncio.to_thread(lambda: render.score.write_text(to_json(document)))
        except OSError as error:
            self._drop(render)
            raise Busy(f"The score cannot be written: {error.strerror}.", code="disk_full", retry_after=60) from None
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="renders")
        return render

    def known(self, render_id: str) -> Render:
        """The render, whoever asks. Raises NotFound."""
        self._forget()
        render = self._renders.get(render_id)
        if render is None:
            raise NotFound("There is no such render. It may be over an hour old; start it again.", code="no_render")
        return render

    def get(self, render_id: str, token: str | None, *, steer: bool = False) -> Render:
        """The render, for those who may watch its session; with `steer` for those who may steer it.

        Raises NotFound, Unauthorised.
        """
        render = self.known(render_id)
        given = (token or "").encode()
        if secrets.compare_digest(given, render.token.encode()):
            return render
        if not secrets.compare_digest(given, render.view_token.encode()):
            raise Unauthorised("A render needs the token of its session, or its view token.")
        if steer:
            raise Unauthorised("This token only lets you see the render, not cancel it.", code="watch_only")
        return render

    def cancel(self, render: Render) -> None:
        """Stop it and forget it; idempotent."""
        self._drop(render)
        if render is self._running and self._worker is not None:
            self._worker.cancel()
            self._running = None
            self._worker = asyncio.create_task(self._work(self._worker), name="renders")

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # --- inside

    def _drop(self, render: Render) -> None:
        self._renders.pop(render.id, None)
        if render in self._queue:
            self._queue.remove(render)
        if not render.done.is_set():
            render.end("failed", "It was cancelled.")
        render.video.unlink(missing_ok=True)

    def _forget(self) -> None:
        """Results that are too old, or too many."""
        ended = sorted((r for r in self._renders.values() if r.ended_at is not None), key=lambda r: r.ended_at or 0.0)
        now = time.monotonic()
        for place, render in enumerate(reversed(ended)):
            if place >= KEPT or now - (render.ended_at or now) > KEPT_SECONDS:
                self._drop(render)

    async def _work(self, after: asyncio.Task[None] | None = None) -> None:
        if after is not None:
            await asyncio.gather(after, return_exceptions=True)
        while self._queue:
            render = self._running = self._queue.pop(0)
            render.state = "running"
            try:
                await self._run(render)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("render %s", render.id)
                render.end("failed", "Something went wrong in the server; it is in the log.")
            finally:
                if self._running is render:
                    self._running = None
            self._forget()

    async def _run(self, render: Render) -> None:
        """One render in its process. Cancelled: the process is ended."""
        config = self.config
        job = {
            "renderer": config.renderer,
            "score": str(render.score),
            "steps": render.steps,
            "output": str(render.video),
            "model": config.model,
            "device": config.device,
            "threads": config.engine_threads,
            "options": {"decoder": config.decoder, "lora": list(config.lora)},
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "stream.score.render_job",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            limit=LINE,
        )
        self.pid = process.pid
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")  # kept open: its end ends the process
            async for line in process.stdout:
                self._on_report(render, line)
            await process.wait()
        finally:
            self.pid = None
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
            process.stdin.close()
            part_of(render.video).unlink(missing_ok=True)
        if not render.done.is_set():
            log.error("render %s: the process ended with %s", render.id, process.returncode)
            render.end("failed", "The rendering process ended unexpectedly; the server's log says more. Try again.")

    def _on_report(self, render: Render, line: bytes) -> None:
        try:
            report = json.loads(line)
        except ValueError:
            return  # something a library printed
        if not isinstance(report, dict) or render.done.is_set():
            return
        if "progress" in report:
            render.progress = float(report["progress"])
        elif "error" in report:
            render.end("failed", str(report["error"]))
        elif "done" in report:
            render.progress, render.frames, render.exact = 1.0, int(report["frames"]), report["exact"]
            render.end("done")
