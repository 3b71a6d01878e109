"""Request bodies, read with a limit: JSON, SDP, and multipart forms with one file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import HTTPConnection

from stream.errors import InvalidRequest, TooLarge, WrongMediaType


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


@dataclass(frozen=True)
class Form:
    """`fields`: texts; `files`: name to (content, content type)."""

    fields: dict[str, str]
    files: dict[str, tuple[bytes, str]]


async def read_form(request: Request, limit: int) -> Form:
    """A multipart form with at most one file. Raises TooLarge, InvalidRequest, WrongMediaType."""
    if media_type(request) != "multipart/form-data":
        raise WrongMediaType("Send multipart/form-data here.")
    _check_length(request, limit)
    total = 0

    async def counted() -> AsyncGenerator[bytes, None]:
        nonlocal total
        async for part in request.stream():
            total += len(part)
            if total > limit:
                raise _too_large(limit)
            yield part

    try:
        form = await MultiPartParser(request.headers, counted(), max_files=2, max_fields=4).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", "") or "the multipart body cannot be read"
        raise InvalidRequest(f"The form cannot be read: {message}.", code="bad_form") from None
    fields: dict[str, str] = {}
    files: dict[str, tuple[bytes, str]] = {}
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = (await value.read(), value.content_type or "")
            else:
                fields[name] = value
    finally:
        await form.close()
    return Form(fields, files)


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
