"""Who may do what: keys of the operator, tokens of a session, and tickets for links that carry no header.

- A **key** is set by whoever runs the server. `create` lets its bearer start sessions, `operate` list and end all.
- A session's **token** steers it, its view token lets watch; both go in `Authorization: Bearer`. A WebSocket of a
  browser cannot set headers: it sends the token as a subprotocol (`farcast.v1, token.TOKEN`) or in its first message.
- A **ticket** stands in the address of a download that a browser opens by itself. It is signed, names one path, and
  is good for five minutes.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Iterable

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection

from stream.config import ApiKey, Scope
from stream.errors import Forbidden, Unauthorised

SUBPROTOCOL = "farcast.v1"
TOKEN_PREFIX = "token."
TICKET_SECONDS = 300
SECRET = re.compile(r"\b(token|ticket|key)([=.])[^&\s\"',]+")


def token_of(connection: HTTPConnection) -> str | None:
    """The token of a request, or of a WebSocket that sends it in a header or as a subprotocol.

    `Farcast-Token` is for where a proxy takes `Authorization`.
    """
    if own := connection.headers.get("farcast-token", "").strip():
        return own
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if connection.scope["type"] == "websocket":
        for offered in connection.scope.get("subprotocols", ()):
            if offered.startswith(TOKEN_PREFIX):
                return str(offered[len(TOKEN_PREFIX) :])
    return None


def path_of(connection: HTTPConnection) -> str:
    """The path as the server's routes name it, whether or not a proxy has cut off its prefix (`--root-path`)."""
    path: str = connection.scope["path"]
    return path.removeprefix(connection.scope.get("root_path", ""))


class Access:
    """The keys of a server, and its tickets. Without keys everybody may create sessions, and nobody may operate."""

    def __init__(self, keys: Iterable[ApiKey], root_path: str = "") -> None:
        self.keys, self._root = tuple(keys), root_path
        self._signer = TimestampSigner(secrets.token_bytes(32), salt="farcast.ticket")

    def key_of(self, token: str | None) -> ApiKey | None:
        """The key that this token is."""
        if token is None:
            return None
        given = token.encode("utf-8", "replace")
        return next((key for key in self.keys if hmac.compare_digest(given, key.key.encode())), None)

    def check(self, token: str | None, scope: Scope) -> ApiKey | None:
        """The key used; None where none is needed. Raises Unauthorised without one, Forbidden for another scope."""
        if not self.keys and scope == "create":
            return None
        key = self.key_of(token)
        if key is None:
            raise Unauthorised(f"This needs a key of the server with the scope {scope!r}: `Authorization: Bearer KEY`.",
                code="no_key")  # fmt: skip
        if scope not in key.scopes:
            raise Forbidden(f"This key does not have the scope {scope!r}.", code="wrong_scope")
        return key

    def operates(self, token: str | None) -> bool:
        """Whether the bearer may list and end every session."""
        key = self.key_of(token)
        return key is not None and "operate" in key.scopes

    def ticket(self, path: str) -> str:
        """The address of `path` with a ticket for it, good for TICKET_SECONDS."""
        return f"{self._root}{path}?ticket={self._signer.sign(path).decode()[len(path) + 1 :]}"

    def admits(self, connection: HTTPConnection) -> bool:
        """Whether the address carries a ticket for its path. Raises Unauthorised for one that is not good."""
        ticket = connection.query_params.get("ticket")
        if ticket is None:
            return False
        try:
            self._signer.unsign(f"{path_of(connection)}.{ticket}", max_age=TICKET_SECONDS)
        except BadSignature:
            raise Unauthorised("The ticket in this address is not good any more. Ask for a new one.", code="bad_ticket"
            ) from None  # fmt: skip
        return True


class MaskSecrets(logging.Filter):
    """Tokens, tickets and keys in addresses and headers are not written to the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(masked(value) if isinstance(value, str) else value for value in record.args)
        if isinstance(record.msg, str):
            record.msg = masked(record.msg)
        return True


def masked(text: str) -> str:
    """The text with each secret in it replaced by stars."""
    return SECRET.sub(r"\1\2***", text)
