"""Request bodies, read with a limit: JSON, SDP, and multipart forms with one file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from stream.errors import InvalidRequest, RequestTooSlow, TooLarge, WrongMediaType

STALL_SECONDS = 10.0  # between two parts of a body
BODY_SECONDS = 120.0  # for all of it


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is over `limit` bytes, however long it claims to be."""
    _check_length(request, limit)
    return b"".join([part async for part in _parts(request, limit)])


async def _parts(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Raises TooLarge, and RequestTooSlow for a body that stalls or takes for ever."""
    total, stream = 0, aiter(request.stream())
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                async with asyncio.timeout(STALL_SECONDS):
                    part = await anext(stream, None)
                if part is None:
                    return
                total += len(part)
                if total > limit:
                    raise _too_large(limit)
                yield part
    except TimeoutError:
        raise RequestTooSlow("The body came too slowly. Send it again.") from None


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
    parts = _parts(request, limit)
    try:
        form = await MultiPartParser(request.headers, parts, max_files=2, max_fields=4).parse()
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
