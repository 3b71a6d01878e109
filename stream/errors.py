"""Errors that a user of the service can cause. Each one knows its HTTP status, and its message says what to do.

All derive from `farcast.errors.FarcastError`; `api.problems` makes HTTP answers and control messages of them,
`farcast.cli` a line on the terminal. The model has errors of its own, as `models` imports nothing of the service: where
the service calls it for a user, `user_errors` converts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from farcast.errors import FarcastError

from models import errors as model_errors


class StreamError(FarcastError):
    """Base. `code` is the short word on the wire, `status` the HTTP status, `retry_after` seconds."""

    status = 500

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class ConfigError(StreamError):
    """An option of the command line that makes no sense."""

    code = "config"


class InvalidRequest(StreamError):
    code = "invalid"
    status = 400


class Unauthorised(StreamError):
    code = "unauthorised"
    status = 401


class Forbidden(StreamError):
    code = "forbidden"
    status = 403


class NotFound(StreamError):
    code = "not_found"
    status = 404


class NotAcceptable(StreamError):
    code = "not_acceptable"
    status = 406


class RequestTooSlow(StreamError):
    code = "too_slow"
    status = 408


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


class TooMany(StreamError):
    """More than is allowed to one user in a time; `retry_after` seconds says when there is room again."""

    code = "too_many"
    status = 429


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


@contextmanager
def user_errors() -> Iterator[None]:
    """Raises InvalidRequest, with the same code and message, for an error of the model that is meant for users. A
    decorator as well."""
    try:
        yield
    except model_errors.FarcastError as error:
        raise InvalidRequest(str(error), code=error.code) from error
