"""Frames that are shown, sampled for the content filters: a session whose frame is refused ends, with the reason."""

from __future__ import annotations

import asyncio

from stream.errors import Busy
from stream.session.manager import Manager
from stream.uploads.filters import FRAME_SECONDS, Filters, Subject


async def watch_frames(manager: Manager, filters: Filters) -> None:
    """For ever: once in FRAME_SECONDS, ask about the newest frame of every running session."""
    asked: dict[str, int] = {}
    while filters:
        await asyncio.sleep(FRAME_SECONDS)
        asked = {session.id: asked.get(session.id, 0) for session in manager.running}
        for session in manager.running:
            pixels = session.broadcast.on_screen
            if pixels is None or asked.get(session.id) == id(pixels):
                continue
            asked[session.id] = id(pixels)
            try:
                reason = await filters.refusal(Subject("frame", pixels=pixels))
            except Busy:
                continue
            if reason is not None:
                session.end(f"The content filter ended the session: {reason}")
