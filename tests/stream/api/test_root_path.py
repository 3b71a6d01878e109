"""`--root-path`: addresses carry the path prefix of the proxy, whether it strips the prefix or not."""

from __future__ import annotations

from collections.abc import Iterator

import farcast
import httpx
import pytest

from stream.config import ServerConfig
from stream.errors import ConfigError
from tests.support.proxy import proxy
from tests.support.running_server import Running, running


@pytest.fixture(scope="module")
def prefixed() -> Iterator[Running]:
    with running(root_path="/farcast") as run:
        yield run


@pytest.mark.parametrize("prefix", ["", "/farcast"])
@pytest.mark.parametrize("path", ["/", "/js/main.js", "/v1/model", "/docs", "/healthz"])
def test_everything_is_there_with_and_without_the_prefix(prefixed: Running, prefix: str, path: str) -> None:
    assert httpx.get(f"{prefixed.url.rstrip('/')}{prefix}{path}", timeout=20).status_code == 200


async def test_addresses_carry_the_prefix(prefixed: Running) -> None:
    with proxy(prefixed.url, prefix="/farcast") as before:
        async with farcast.connect(before.url, prompt="a red circle") as live:
            assert live.info.urls.control.startswith("/farcast/v1/sessions/")
            assert (await live.prompt("a blue star")).text == "a blue star"
            async for frame in live.frames():
                assert frame.image.size
                break


@pytest.mark.parametrize("path", ["farcast", "/farcast/", "/a b", "/"])
def test_a_prefix_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="--root-path"):
        ServerConfig(root_path=path)
