"""Everything that can go wrong for a user of Farcast, as types.

Each message says what to do next; `code` is the same short word that travels on the wire.
"""

from __future__ import annotations


class FarcastError(Exception):
    """Base of every error a user of the client library sees."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ProtocolError(FarcastError):
    """A message that does not follow the wire. `re` and `kind` name it as far as it could be read."""

    code = "invalid"

    def __init__(
        self, message: str, *, code: str | None = None, re: str | None = None, kind: str | None = None, text: str = ""
    ) -> None:
        super().__init__(message, code=code)
        self.re = re
        self.kind = kind
        self.text = text


class ConnectionFailed(FarcastError):
    """The server cannot be reached, or went away and did not come back in time."""

    code = "connection_failed"


class RequestRefused(FarcastError):
    """The server answered with a problem document. `status` is the HTTP status, `retry_after` seconds if it said so."""

    code = "refused"

    def __init__(
        self, message: str, *, code: str | None = None, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.retry_after = retry_after


class PromptRejected(FarcastError):
    """A prompt did not reach the screen: invalid, or replaced by a newer one (`code == "superseded"`)."""

    code = "rejected"


class CommandFailed(FarcastError):
    """The server answered a command (dial, pause, rewind, image ...) with an error."""

    code = "failed"


class SessionEnded(FarcastError):
    """The session is over: stopped, expired, or lost with the server."""

    code = "ended"


class RenderFailed(FarcastError):
    """A take could not be rendered again; the message says why."""

    code = "render_failed"


class AnswerTimeout(FarcastError):
    """The server did not answer in time."""

    code = "timeout"


class MediaFailed(FarcastError):
    """The video connection failed, or a file could not be read or written."""

    code = "media"
