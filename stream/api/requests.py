"""Request bodies, read with a limit: JSON and SDP. Forms are received by `stream.uploads.form`."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.errors import RequestTooSlow, TooLarge

STALL_SECONDS = 10.0  # between two parts of a body
BODY_SECONDS = 120.0  # for all of it


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is over `limit` bytes, however long it claims to be."""
    _check_length(request, limit)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


class BodyTimeout:
    """ASGI middleware: raises RequestTooSlow where a body is read that stalls or takes for ever."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        whole = False
        end = asyncio.get_running_loop().time() + BODY_SECONDS

        async def receive_in_time() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                left = end - asyncio.get_running_loop().time()
                message = await asyncio.wait_for(receive(), min(STALL_SECONDS, max(0.0, left)))
            except TimeoutError:
                raise RequestTooSlow("The body came too slowly. Send it again.") from None
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        await self.app(scope, receive_in_time, send)


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
    return TooLarge(f"The body is over {size}. Send less.")
