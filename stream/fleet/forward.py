"""A request of the gateway's, sent on to a worker, and the worker's answer with addresses of the worker in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import Response

from stream.errors import Busy

SENT_ON = ("authorization", "farcast-token", "content-type")
HANDED_BACK = ("content-type", "link", "retry-after", "www-authenticate")


@dataclass(frozen=True)
class Answer:
    """status None: the worker did not answer."""

    status: int | None
    body: bytes = b""
    headers: httpx.Headers | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def response(self, worker_url: str) -> Response:
        """For the client: `urls` and Location are absolute, on the worker. Raises Busy when it did not answer."""
        if self.status is None or self.headers is None:
            raise Busy("The session's server does not answer. It is placed on another one; ask again in a moment.",
                code="recovering", retry_after=1)  # fmt: skip
        headers = {name: self.headers[name] for name in HANDED_BACK if name in self.headers}
        body, document = self.body, self.document
        if isinstance(urls := document.get("urls"), dict):
            document["urls"] = {name: absolute(worker_url, url) for name, url in urls.items()}
            body = json.dumps(document).encode()
        if "location" in self.headers:
            headers["location"] = absolute(worker_url, self.headers["location"])
        return Response(body, self.status, headers=headers)


def absolute(worker_url: str, url: Any) -> Any:
    """A path of the worker's with its address; anything else stays as it is."""
    return worker_url + url if isinstance(url, str) and url.startswith("/") else url


async def send(http: httpx.AsyncClient, request: Request, worker_url: str, body: bytes = b"") -> Answer:
    """The same method and path on the worker, with the client's credentials."""
    headers = {name: request.headers[name] for name in SENT_ON if name in request.headers}
    if request.client is not None:
        headers["x-forwarded-for"] = request.client.host
    try:
        answer = await http.request(request.method, worker_url + request.url.path, content=body, headers=headers)
    except httpx.HTTPError:
        return Answer(None)
    return Answer(answer.status_code, answer.content, answer.headers)
