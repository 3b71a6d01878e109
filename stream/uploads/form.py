"""Multipart forms with one file, received onto disk within a quota that all unfinished uploads share."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from stream.errors import Busy, InsufficientStorage, InvalidRequest, StreamError, TooLarge, WrongMediaType

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Quota:
    """Bytes of all uploads that are being received or wait to be decoded, in memory and in the temporary folder."""

    limit: int
    used: int = 0

    def take(self, size: int) -> None:
        """Raises Busy when it is used up."""
        if self.used + size > self.limit:
            raise Busy(
                f"Uploads hold the {self.limit // 2**20} MiB that they may hold together. Try again in a moment.",
                code="uploads_full",
                retry_after=5,
            )
        self.used += size

    def give_back(self, size: int) -> None:
        self.used -= size


@dataclass(frozen=True)
class Form:
    """`fields`: texts; `files`: open files, each at its beginning."""

    fields: dict[str, str]
    files: dict[str, IO[bytes]]


@asynccontextmanager
async def receive_form(request: Request, limit: int, quota: Quota) -> AsyncIterator[Form]:
    """The form of a request with at most two files, of `limit` bytes in all. Its files are gone afterwards.

    Raises WrongMediaType, TooLarge, InvalidRequest, Busy (quota), InsufficientStorage (the disk is full).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise WrongMediaType("Send multipart/form-data here.")
    too_large = TooLarge(f"The body is over {limit // 2**20} MiB. Send less.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and len(length) < 20 and int(length) > limit:
        raise too_large
    held = 0

    async def counted() -> AsyncGenerator[bytes, None]:
        nonlocal held
        async for part in request.stream():
            if held + len(part) > limit:
                raise too_large
            quota.take(len(part))
            held += len(part)
            yield part

    try:
        parser = MultiPartParser(request.headers, counted(), max_files=2, max_fields=4)
        begun = parser._files_to_close_on_error  # every file that has begun; the form lacks one that has not ended
        try:
            form = _form(await _parse(parser))
            if len(form.files) < len(begun):
                raise InvalidRequest("The form breaks off in a file, or names two alike.", code="bad_form")
            yield form
        finally:
            for file in begun:
                file.close()
    finally:
        quota.give_back(held)


async def _parse(parser: MultiPartParser) -> FormData:
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The form cannot be read: {error.message.rstrip('.')}.", code="bad_form") from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise InsufficientStorage("The server's disk is full; it cannot take the file. Try again later.") from None
        raise
    except (StreamError, MemoryError):
        raise
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError):  # the parser's own, on odd headers
        raise InvalidRequest("The form cannot be read: it is no multipart body.", code="bad_form") from None


def _form(form: FormData) -> Form:
    fields: dict[str, str] = {}
    files: dict[str, IO[bytes]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            value.file.seek(0)
            files[name] = value.file
        else:
            fields[name] = value
    return Form(fields, files)
