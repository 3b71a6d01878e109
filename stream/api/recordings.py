"""What a session has shown so far, as MP4: while it runs and for a while after."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from stream.access.credentials import Access, token_of
from stream.errors import NotFound, StreamError
from stream.session.manager import Manager

from .sessions import PROBLEMS

MP4 = "video/mp4"
DIGITS = 18
PIECE = 256 * 1024
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Ticket(BaseModel):
    """An address with a ticket in it."""

    url: str


class BadRange(StreamError):
    code = "bad_range"
    status = 416


def routes(manager: Manager, access: Access) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["recording"], responses=dict(PROBLEMS))
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {MP4: {}}},
        206: {"description": "The range that was asked for."},
    }

    @router.head("/sessions/{session_id}/recording.mp4", include_in_schema=False)
    @router.get("/sessions/{session_id}/recording.mp4", responses=answers, response_class=Response)
    async def recording(session_id: str, request: Request) -> Response:
        """What the session has shown so far. Complete at every moment; ask again later for more."""
        recordings = manager.recordings
        ticketed = access.admits(request)
        found = recordings.known(session_id) if ticketed else recordings.find(session_id, token_of(request))
        size = found.size  # whole fragments; what is added from now on is not part of this answer
        if not size:
            raise NotFound("Nothing has been shown yet. Ask again in a moment.", code="nothing_yet", retry_after=1)
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": "no-store",
            "Content-Disposition": f'inline; filename="{found.path.name}"',
            "Farcast-Recording": "growing" if found.growing else found.why or "complete",
        }
        begin, end, status = 0, size, 200
        if (wanted := span(request.headers.get("range"), size)) is not None:
            (begin, end), status = wanted, 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - begin)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=MP4)
        return StreamingResponse(_pieces(found.path, begin, end), status, headers, MP4)

    @router.post("/sessions/{session_id}/recording/ticket", response_model=Ticket)
    async def ticket(session_id: str, request: Request) -> Ticket:
        """An address of the recording that a browser can open by itself, good for five minutes."""
        manager.recordings.find(session_id, token_of(request))
        return Ticket(url=access.ticket(f"/v1/sessions/{session_id}/recording.mp4"))

    return router


def span(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None = everything. Raises BadRange. Several ranges are answered by
    everything, as RFC 9110 allows."""
    match = RANGE.fullmatch((header or "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = (digits[:DIGITS] for digits in match.groups())  # more would be beyond any file, too
    if not first:  # so many from the end
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
    if begin >= end:
        raise BadRange(f"The recording has {size} bytes so far; the range lies outside.")
    return begin, end


async def _pieces(path: Path, begin: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a file that may go on growing. Ends early when it is deleted meanwhile."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, begin)
        while begin < end and (piece := await asyncio.to_thread(file.read, min(PIECE, end - begin))):
            begin += len(piece)
            yield piece
    finally:
        file.close()
