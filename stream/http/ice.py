"""The ICE servers of an answer, as `Link` headers: a viewer needs them before its first offer, if it is to begin with
all its ways through a firewall."""

from __future__ import annotations

import time

from starlette.responses import Response

from ..config import ServerConfig
from ..ice import links


def name_ice_servers(response: Response, config: ServerConfig, *, relays: bool = True) -> None:
    """With `relays`, TURN servers too, with credentials: only for those who may watch."""
    for link in links(config.ice_servers, config.turn_secret, time.time(), relays=relays):
        response.headers.append("Link", link)
