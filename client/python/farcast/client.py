"""`connect`: start a session on a server or join one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiortc import RTCIceServer

from .api import Api, Auth, Verify
from .errors import FarcastError
from .live import Live
from .protocol import Dial, SessionRequest
from .protocol.parse import checked
from .uploads import Picture, encoded, read


@asynccontextmanager
async def connect(
    url: str = "http://127.0.0.1:8000",
    *,
    prompt: str | None = None,
    image: Picture | None = None,
    clip: str | Path | bytes | None = None,
    seed: int | None = None,
    dial: Dial | None = None,
    guidance: float | None = None,
    session: str | None = None,
    token: str | None = None,
    key: str | None = None,
    media: bool = True,
    keep: bool = False,
    reconnect_timeout: float = 30.0,
    ice_servers: Sequence[RTCIceServer] = (),
    headers: Mapping[str, str] | None = None,
    auth: Auth | None = None,
    verify: Verify = True,
) -> AsyncIterator[Live]:
    """Start a session from `prompt` (and an image or a clip), or join one by `session` and `token`.

    media=False: control only. keep=True: the session goes on when the block ends; a joined one always does.
    reconnect_timeout: seconds to keep trying when the connection is lost. key: of the server, where it asks for one to
    start a session (left out = FARCAST_API_KEY).

    Behind a proxy: `url` may have a path prefix; `headers` go with every request and with the WebSocket handshake;
    `auth` is a (user, password) pair for HTTP basic authentication (RFC 7617); `verify` as in httpx: False accepts any
    TLS certificate, or an `ssl.SSLContext`.

    Raises ConnectionFailed when nothing answers, RequestRefused when the server refuses (full, bad image ...),
    ProtocolError for impossible arguments.
    """
    if (prompt is None) == (session is None):
        raise FarcastError("Give either prompt=... to start a session, or session=... and token=... to join one.")
    if image is not None and clip is not None:
        raise FarcastError("Give an image or a clip to start from, not both.")
    async with Api(url, token=token, key=key, headers=headers, auth=auth, verify=verify) as api:
        if session is not None:
            info = await api.info(session)
        else:
            given = {"prompt": prompt, "seed": seed, "dial": dial or Dial(), "guidance": guidance}
            request = checked(SessionRequest, **given)
            picture = None if image is None else await asyncio.to_thread(encoded, image)
            video = None if clip is None else clip if isinstance(clip, bytes) else await asyncio.to_thread(read, clip)
            info = await api.create(request, image=picture, clip=video)
        live = Live(api, info, media=media, reconnect_timeout=reconnect_timeout, ice_servers=ice_servers)
        try:
            await live.open()
            yield live
        finally:
            await live.close(delete=session is None and not keep)
