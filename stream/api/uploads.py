"""Pictures and clips of a request: received within a quota, decoded in a process of their own, in the model's size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from farcast.protocol import SessionRequest, parse_request
from starlette.requests import Request

from stream.config import ServerConfig
from stream.engine.protocol import ModelFacts
from stream.errors import InvalidRequest
from stream.metrics import Metrics
from stream.types import Pixels
from stream.uploads.filters import FRAME_SECONDS, Filters, Subject
from stream.uploads.form import Form, Quota, receive_form
from stream.uploads.pool import DecodePool


class Uploads:
    """What a server does with uploads; one a server."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config = config
        self.filters = Filters(config.filters)
        self.pool = DecodePool(config.upload_processes, config.upload_waiting)
        self.quota = Quota(config.upload_space)
        metrics.upload_bytes.set_function(lambda: self.quota.used)
        metrics.uploads_decoding.set_function(lambda: self.pool.running)
        metrics.uploads_waiting.set_function(lambda: self.pool.waiting)

    @asynccontextmanager
    async def form(self, request: Request) -> AsyncIterator[Form]:
        """The request's form while its files are open. Raises what `receive_form` does."""
        self.pool.start()
        async with receive_form(request, self.config.max_upload, self.quota) as form:
            yield form

    def creation(self, form: Form) -> SessionRequest:
        """The JSON part of a form that makes a session. Raises InvalidRequest, ProtocolError."""
        most = self.config.max_json
        text: str | bytes = form.fields.get("request", "")
        if not text and "request" in form.files:
            text = form.files["request"].read(most + 1)
        if not text:
            raise InvalidRequest("The form lacks `request`, the JSON of the session.")
        if len(text) > most:
            raise InvalidRequest(f"`request` is over {most // 1024} KiB.")
        names = set(form.files) - {"request"}
        if names - {"image", "clip"} or len(names) > 1:
            raise InvalidRequest("Send one file, as `image` or as `clip`.")
        return parse_request(text)

    async def image(self, form: Form, facts: ModelFacts) -> Pixels | None:
        """The form's picture in the model's size; None without one. Raises what `DecodePool.image` does, and
        Unprocessable where a content filter refuses it."""
        if (file := form.files.get("image")) is None:
            return None
        pixels = await self.pool.image(file, facts.width, facts.height)
        await self.filters.check(Subject("picture", pixels=pixels))
        return pixels

    async def clip(self, form: Form, facts: ModelFacts) -> Pixels | None:
        """The form's clip in the model's size and rate; None without one. Raises as `image` does."""
        if (file := form.files.get("clip")) is None:
            return None
        frames = await self.pool.clip(file, facts.width, facts.height, facts.fps)
        if self.filters:
            for frame in frames[:: max(1, round(facts.fps * FRAME_SECONDS))]:
                await self.filters.check(Subject("picture", pixels=frame))
        return frames

    async def close(self) -> None:
        await self.pool.close()
        self.filters.close()
