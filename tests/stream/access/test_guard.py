"""Pages of other sites, names that were rebound, and the headers of every answer."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.guarded_server import KEYS, create, first
from tests.support.running_server import Running, running


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with keys, a page elsewhere that may use it, and a name of its own."""
    with running(
        api_keys=KEYS, allow_origins=("https://friend.example",), public_urls=("https://video.example",)
    ) as run:
        yield run


def test_pages_of_other_sites_may_not_use_the_server(guarded: Running) -> None:
    assert create(guarded, Origin="https://evil.example").json()["code"] == "foreign_origin"
    assert create(guarded, Origin="null").status_code == 403
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{guarded.url}/v1/sessions", headers=preflight).status_code == 403
    own = create(guarded, Origin=guarded.url)
    assert own.status_code == 201
    friend = create(guarded, Origin="https://friend.example")
    assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (201, "https://friend.example")
    made = own.json()
    with pytest.raises(InvalidStatus):
        first(guarded.socket(made), additional_headers=guarded.headers(made), origin="https://evil.example")  # type: ignore[arg-type]
    guarded.delete(made)
    guarded.delete(friend.json())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", ""])
def test_a_rebound_name_is_refused(server: Running, host: str) -> None:
    answer = httpx.get(f"{server.url}/v1/model", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["video.example", "localhost:8000", "[::1]:80", "192.168.0.7:8000"])
def test_the_names_and_addresses_of_the_server_are_fine(guarded: Running, host: str) -> None:
    assert httpx.get(f"{guarded.url}/v1/model", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/v1/model", "/v1/sessions/none", "/nothing", "/metrics"])
def test_every_answer_carries_the_security_headers(server: Running, path: str) -> None:
    headers = httpx.get(server.url + path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_tools_files_are_not_served(server: Running) -> None:
    for path in ("/package.json", "/tsconfig.json"):
        assert httpx.get(server.url + path).status_code == 404


def test_the_description_names_the_type_of_errors(server: Running) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    for methods in paths.values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and "content" in answer:
                    assert list(answer["content"]) == ["application/problem+json"]


def test_allow_names_every_method(server: Running) -> None:
    made = server.create()
    refused = httpx.put(server.url + made["urls"]["session"])
    assert refused.status_code == 405
    assert {"GET", "DELETE"} <= {name.strip() for name in refused.headers["allow"].split(",")}
    server.delete(made)
