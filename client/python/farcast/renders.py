"""A render on the server, from its start to the file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from .api import Api
from .errors import FarcastError, MediaFailed, RenderFailed
from .protocol import RenderInfo, RenderRequest
from .protocol.parse import checked


def writable(path: str | Path) -> Path:
    """The file's place. Raises MediaFailed before the work begins when its result could not be written there."""
    place = Path(path).expanduser()
    if not place.parent.is_dir():
        raise MediaFailed(f"The folder {place.parent} does not exist. Make it first, or choose another file.")
    return place


async def follow(
    api: Api,
    url: str,
    path: Path | None,
    *,
    steps: int | None,
    progress: Callable[[RenderInfo], None] | None,
    poll: float,
) -> RenderInfo:
    """Start a render at `url` (urls.renders of a session), wait for it, and save it. Cancels it when cancelled."""
    request = checked(RenderRequest, steps=steps)
    address, info = await api.render(url, request)
    try:
        while True:
            if progress is not None:
                progress(info)
            if info.state == "failed":
                raise RenderFailed(info.error or "The server could not render the take.")
            if info.state == "done":
                break
            await asyncio.sleep(poll)
            info = await api.render_info(address)
        if path is not None and info.url is not None:
            await api.download(info.url, path)
    except BaseException:
        if info.state in ("queued", "running"):
            with contextlib.suppress(FarcastError):
                await asyncio.shield(api.delete(address))
        raise
    return info
