"""What can go wrong for a user of the service. Each error knows its HTTP status and says what to do."""

from __future__ import annotations


class StreamError(Exception):
    """Base. `code` is the short word on the wire, `status` the HTTP status."""

    code = "error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class ConfigError(StreamError):
    """An option of the command line that makes no sense."""

    code = "config"


class InvalidRequest(StreamError):
    code = "invalid"
    status = 400


class Unauthorised(StreamError):
    code = "unauthorised"
    status = 401


class NotFound(StreamError):
    code = "not_found"
    status = 404


class NotAcceptable(StreamError):
    code = "not_acceptable"
    status = 406


class Conflict(StreamError):
    code = "conflict"
    status = 409


class PreconditionFailed(StreamError):
    code = "precondition_failed"
    status = 412


class TooLarge(StreamError):
    code = "too_large"
    status = 413


class WrongMediaType(StreamError):
    code = "unsupported_media_type"
    status = 415


class Unprocessable(StreamError):
    code = "unprocessable"
    status = 422


class InsufficientStorage(StreamError):
    """The server's disk is full."""

    code = "disk_full"
    status = 507


class Busy(StreamError):
    """No room now; `retry_after` seconds says when to ask again."""

    code = "busy"
    status = 503


class EngineFailed(StreamError):
    """The engine cannot start or keeps falling over."""

    code = "engine_failed"
    status = 503
