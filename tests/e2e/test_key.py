"""The page of a server that asks for a key: it asks once, keeps the key, and no address holds a token."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream.config import ApiKey
from tests.support.browser_page import Tab
from tests.support.running_server import running

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KEY = "create-key-0123456789"


def test_the_page_asks_for_the_key_once(tab: Callable[..., Tab]) -> None:
    with running(api_keys=(ApiKey.parse(f"create:{KEY}"),)) as server:
        view = tab()
        asked: list[str] = []
        addresses: list[str] = []

        def answer(dialog: object) -> None:
            asked.append(dialog.message)  # type: ignore[attr-defined]
            dialog.accept(KEY)  # type: ignore[attr-defined]

        view.page.on("dialog", answer)
        view.page.on("request", lambda request: addresses.append(request.url))
        view.page.on("websocket", lambda socket: addresses.append(socket.url))
        view.open(server.url).playing()
        assert len(asked) == 1
        assert "key" in asked[0]
        view.page.evaluate("sessionStorage.clear()")
        view.page.goto("about:blank")
        view.open(server.url).playing()
        assert len(asked) == 1
        tokens = [token for s in server.manager.sessions.values() for token in (s.token, s.view_token)]
        assert any("/control" in address for address in addresses)
        assert not [address for address in addresses for secret in (*tokens, KEY) if secret in address]
