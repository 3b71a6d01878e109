"""Request bodies, read with a limit: JSON and SDP. Forms are received by `stream.uploads.form`."""

from __future__ import annotations

from fastapi import Request
from starlette.requests import HTTPConnection

from stream.errors import TooLarge


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


def _check_length(request: Request, limit: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
    return TooLarge(f"The body is over {size}. Send less.")


def token_of(connection: HTTPConnection) -> str | None:
    """The token of a request or WebSocket. `Farcast-Token`: for where a proxy takes `Authorization`."""
    if own := connection.headers.get("farcast-token", "").strip():
        return own
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return connection.query_params.get("token")
