"""The HTTP side of a server: sessions, images, scores. Every failure is a typed error."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpx
from pydantic import BaseModel, ValidationError

from .errors import ConnectionFailed, FarcastError, MediaFailed, ProtocolError, RequestRefused
from .protocol import (
    ImageAccepted,
    ModelInfo,
    Problem,
    RenderInfo,
    RenderRequest,
    SessionCreated,
    SessionInfo,
    SessionRequest,
    explain,
)

Body = TypeVar("Body", bound=BaseModel)
Auth = tuple[str, str]
Verify = bool | ssl.SSLContext
TOKEN_HEADER = "Farcast-Token"


def base_url(url: str) -> str:
    """`host`, `host:port` or a full address -> "http://host:port/"."""
    if "://" not in url:
        url = f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FarcastError(f"{url!r} is not the address of a server. Give one like http://127.0.0.1:8000.")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", ""))


def websocket_url(url: str) -> str:
    """The same address with ws: for http:, wss: for https:."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url


class Api:
    """One server. `token` is set by `create` and goes with every request after it; before that goes `key`, which a
    server may ask for to start a session (left out = FARCAST_API_KEY)."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        key: str | None = None,
        timeout: float = 90.0,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        verify: Verify = True,
    ) -> None:
        self.url = base_url(url)
        self.token = token
        self._key = key or os.environ.get("FARCAST_API_KEY")
        self.verify = verify
        self._own = dict(headers or {})
        if auth is not None:
            self._own["Authorization"] = f"Basic {b64encode(f'{auth[0]}:{auth[1]}'.encode()).decode()}"
        # A server whose model is still loading answers late; one that is not there must be noticed at once.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=10.0), follow_redirects=True, verify=verify
        )

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request: the caller's headers, and the session's token or else the server's key.

        Where the caller uses `Authorization` for a proxy, the token goes in a header of its own."""
        bearer = self.token or self._key
        if not bearer:
            return self._own
        if any(name.lower() == "authorization" for name in self._own):
            return {**self._own, TOKEN_HEADER: bearer}
        return {**self._own, "Authorization": f"Bearer {bearer}"}

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For the WebSocket: how certificates are verified; None for an address without TLS."""
        if not self.url.startswith("https:"):
            return None
        if isinstance(self.verify, ssl.SSLContext):
            return self.verify
        context = ssl.create_default_context()
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def absolute(self, url: str) -> str:
        """`url` as the server gave it, under the address that this client uses.

        A server behind a proxy that strips a path prefix does not know the prefix: a path that lacks it gets it."""
        prefix = urlsplit(self.url).path
        if url.startswith("/") and not url.startswith("//") and not url.startswith(prefix):
            url = url.lstrip("/")
        return urljoin(self.url, url)

    async def create(
        self, request: SessionRequest, *, image: bytes | None = None, clip: bytes | None = None
    ) -> SessionCreated:
        """Start a session, from an image or a clip where one is given."""
        body = request.model_dump_json(exclude_none=True)
        options: dict[str, Any]
        if image is None and clip is None:
            options = {"content": body, "headers": {"Content-Type": "application/json"}}
        else:
            name, data = ("image", image) if image is not None else ("clip", clip)
            files = {"request": (None, body, "application/json"), name: (name, data, "application/octet-stream")}
            options = {"files": files}
        try:
            answer = await self.request("POST", "v1/sessions", **options)
        except RequestRefused as error:
            if error.status not in (404, 405):
                raise
            raise RequestRefused(
                f"There is no Farcast API at {self.url} (HTTP {error.status}). Give the address that `farcast serve` "
                "prints, such as http://127.0.0.1:8000, with a path only where a proxy has one.",
                code="no_server",
                status=error.status,
            ) from None
        created = _read(SessionCreated, answer)
        self.token = created.token
        return created

    async def info(self, session: str) -> SessionInfo:
        return _read(SessionInfo, await self.request("GET", f"v1/sessions/{quote(session, safe='')}"))

    async def model(self) -> ModelInfo:
        return _read(ModelInfo, await self.request("GET", "v1/model"))

    async def image(self, url: str, data: bytes) -> str:
        """Upload a new shot; returns the `re` under which the control socket will answer."""
        files = {"image": ("image", data, "application/octet-stream")}
        return _read(ImageAccepted, await self.request("POST", url, files=files)).re

    async def score(self, url: str) -> dict[str, Any]:
        answer = await self.request("GET", url)
        try:
            score = answer.json()
        except ValueError:
            raise ProtocolError("The server's score is not JSON.") from None
        if not isinstance(score, dict):
            raise ProtocolError("The server's score is not a JSON object.")
        return score

    async def render(self, url: str, request: RenderRequest) -> tuple[str, RenderInfo]:
        """Start a render; returns its address too."""
        body = {"content": request.model_dump_json(), "headers": {"Content-Type": "application/json"}}
        answer = await self.request("POST", url, **body)
        return answer.headers.get("Location", ""), _read(RenderInfo, answer)

    async def render_info(self, url: str) -> RenderInfo:
        return _read(RenderInfo, await self.request("GET", url))

    async def download(self, url: str, path: Path) -> None:
        """A file, a piece at a time; it is only there when it is whole. Raises MediaFailed, ConnectionFailed."""
        part = path.with_name(f".{path.name}.part")
        try:
            async with self._http.stream("GET", self.absolute(url), headers=self.headers) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise refused(answer)
                with part.open("wb") as file:
                    async for piece in answer.aiter_bytes():
                        await asyncio.to_thread(file.write, piece)
            part.replace(path)
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"The download from {self.url} broke off ({error}). Try again.") from None
        except OSError as error:
            raise MediaFailed(f"{path} cannot be written: {error.strerror or error}.") from None
        finally:
            part.unlink(missing_ok=True)

    async def delete(self, url: str) -> None:
        await self.request("DELETE", url, timeout=3.0)

    async def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """One request. Raises ConnectionFailed when nothing answers, RequestRefused for a status of 400 and up."""
        headers = {**self.headers, **options.pop("headers", {})}
        try:
            answer = await self._http.request(method, self.absolute(url), headers=headers, **options)
        except httpx.TimeoutException:
            raise ConnectionFailed(
                f"{self.url} did not answer in time. Is the server busy, or the network down?"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ConnectionFailed(
                f"No Farcast server answers at {self.url} ({error}). Start one with `farcast serve`"
                ", or check the address."
            ) from None
        if answer.status_code >= 400:
            raise refused(answer)
        return answer

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def refused(answer: httpx.Response) -> RequestRefused:
    """The error of a problem document, or of whatever else was sent instead of one."""
    try:
        problem = Problem.model_validate(answer.json())
        message, code = problem.detail or problem.title, problem.code
    except (ValidationError, ValueError):
        message = (
            f"{answer.request.url} answered {answer.status_code} {answer.reason_phrase}. Is this a Farcast server?"
        )
        code = f"http_{answer.status_code}"
    wait = answer.headers.get("Retry-After", "")
    retry_after = float(wait) if wait.isdigit() else None
    return RequestRefused(message, code=code, status=answer.status_code, retry_after=retry_after)


def _read(kind: type[Body], answer: httpx.Response) -> Body:
    try:
        return kind.model_validate(json.loads(answer.content))
    except ValidationError as error:
        raise ProtocolError(f"{answer.request.url} sent an answer this client cannot read: {explain(error)}") from None
    except ValueError:
        raise ProtocolError(f"{answer.request.url} is not a Farcast server: its answer is not JSON.") from None
