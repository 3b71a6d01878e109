"""STUN and TURN servers: what the operator names, what a viewer gets, and short-lived credentials for it.

A TURN server that shares a secret with this one (coturn: `use-auth-secret`) needs no list of users. A user name is
the second at which it expires, a colon and any name; its password is the HMAC-SHA1 of that under the secret
(draft-uberti-behave-turn-rest). Viewers learn them from `Link` headers (RFC 9725 section 4.6, which WHEP refers to).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from .errors import ConfigError

LIFETIME = 6 * 3600  # seconds; a relay that is in use goes on, but a new one needs new credentials
URL = re.compile(r"(stun|turns?):([\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?")


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str


@dataclass(frozen=True)
class IceServer:
    """A `stun:`, `turn:` or `turns:` URL (RFC 7064, RFC 7065). Raises ConfigError for anything else."""

    url: str

    def __post_init__(self) -> None:
        match = URL.fullmatch(self.url)
        if match is None or not 0 < int(match[3] or 1) <= 65535 or (match[1] == "stun" and match[4]):
            raise ConfigError(
                f"{self.url!r} is no ICE server. Give one like stun:stun.example.org or "
                "turn:turn.example.org:3478?transport=udp."
            )

    @property
    def relays(self) -> bool:
        return not self.url.startswith("stun:")


def credentials(secret: str, name: str, now: float, lifetime: float = LIFETIME) -> Credentials:
    """For one user of the TURN server; worth nothing after `lifetime` seconds. `now`: time of day."""
    username = f"{int(now + lifetime)}:{name}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return Credentials(username, base64.b64encode(digest).decode())


def links(servers: Sequence[IceServer], secret: str | None, now: float, *, relays: bool = True) -> list[str]:
    """Values of `Link` headers. With `relays`, TURN servers too, each time with a name and password of their own."""
    values = []
    name = secrets.token_urlsafe(6)
    for server in servers:
        value = f'<{server.url}>; rel="ice-server"'
        if not server.relays:
            values.append(value)
        elif relays and secret is not None:
            made = credentials(secret, name, now)
            values.append(
                f'{value}; username="{made.username}"; credential="{made.password}"; credential-type="password"'
            )
    return values


def name_ice_servers(
    response: Response, servers: Sequence[IceServer], secret: str | None, *, relays: bool = True
) -> None:
    """Add `Link` headers: a viewer needs the servers before its first offer, to gather every candidate at once.

    With `relays`, TURN servers too, with credentials: only for those who may watch.
    """
    for link in links(servers, secret, time.time(), relays=relays):
        response.headers.append("Link", link)
