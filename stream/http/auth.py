"""Who may steer or watch a session: whoever has its token, in the header or in the address."""

from __future__ import annotations

from starlette.requests import HTTPConnection


def token_of(connection: HTTPConnection) -> str | None:
    """The token of a request or WebSocket; the header comes first."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return connection.query_params.get("token")
