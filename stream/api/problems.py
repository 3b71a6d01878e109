"""A user's error on the wire: over HTTP an `application/problem+json` document (RFC 9457), on the control socket an
`error` message; both with the error's `code` for programs."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from farcast.errors import FarcastError
from farcast.protocol import Error, Problem
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import compile_path

from stream.access.credentials import path_of
from stream.metrics import Metrics

log = logging.getLogger("farcast.http")

MEDIA_TYPE = "application/problem+json"
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media_type"}
DETAILS = {
    404: "There is nothing here. The API is described at /docs.",
    405: "This method is not allowed here. The API is described at /docs.",
}


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code)
    return Response(body.dump(), status, media_type=MEDIA_TYPE, headers=headers)


def answer(error: FarcastError) -> Response:
    """The HTTP answer. An error without a status is one in what was sent: 400."""
    status, headers = getattr(error, "status", 400), {}
    if (wait := getattr(error, "retry_after", None)) is not None:
        headers["Retry-After"] = str(math.ceil(wait))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, error.code, error.message, headers)


def message(error: FarcastError, re: str | None = None, *, fatal: bool = False) -> Error:
    """The control message. `re`: the id of the message that is answered."""
    return Error(re=re, code=error.code, message=error.message, fatal=fatal)


def methods_of(request: Request) -> set[str]:
    """What may be done at this path: every route's methods, as Starlette names those of the first one only."""
    found: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if compile_path(template)[0].match(path_of(request)):
            found |= {method.upper() for method in operations}
    return found | ({"HEAD"} if "GET" in found else set())


def install(app: FastAPI, metrics: Metrics) -> None:
    """Teach `app` to answer every error as a problem."""

    def refuse(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
        metrics.refused.labels(code).inc()
        return problem(status, code, detail, headers)

    async def user_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FarcastError)
        metrics.refused.labels(error.code).inc()
        return answer(error)

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return refuse(400, "invalid", f"{where}: {first['msg']}.")

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = error.status_code
        detail = DETAILS.get(status, f"{error.detail}")
        headers = dict(error.headers or {})
        if status == 405 and (allowed := methods_of(request)):
            headers["Allow"] = ", ".join(sorted(allowed))
        return refuse(status, CODES.get(status, "error"), detail, headers)

    async def cut_short(request: Request, error: Exception) -> Response:
        return refuse(400, "cut_short", "The request broke off before it was whole. Send it again.")

    async def unexpected(request: Request, error: Exception) -> Response:
        return refuse(
            500, "internal", "Something went wrong in the server. It is in the log; the other sessions go on."
        )

    app.add_exception_handler(FarcastError, user_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, cut_short)
    app.add_exception_handler(Exception, unexpected)
