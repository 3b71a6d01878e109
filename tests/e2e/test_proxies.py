"""The page behind proxies, and what it says when a part of the way is closed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route

from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs
from tests.support.proxy import proxy

pytestmark = pytest.mark.browser


def test_a_path_prefix(tab: Tabs, server: FaultyServer) -> None:
    with proxy(server.url, prefix="/farcast") as before:
        watched = tab().open(before.url).playing()
        watched.until(lambda: watched.page.locator(".tile").count() > 1, "chunks are made")
        with watched.page.expect_download():
            watched.page.click("#score")
        assert all(line.split()[1].startswith("/farcast/") for line in before.seen)


def test_a_password(tab: Tabs, server: FaultyServer) -> None:
    with proxy(server.url, password=("anna", "secret")) as before:
        watched = tab(http_credentials={"username": "anna", "password": "secret"}).open(before.url).playing()
        watched.until(lambda: watched.page.locator(".tile").count() > 1, "chunks are made")


def test_without_upgrade_headers_the_page_says_so(tab: Tabs, server: FaultyServer) -> None:
    with proxy(server.url, upgrade=False) as before:
        watched = tab().open(before.url)
        detail = watched.page.locator("#veil-detail")
        watched.until(lambda: "must pass WebSockets" in detail.inner_text(), "what is wrong")


def test_when_udp_is_blocked_the_page_says_so(tab: Tabs, server: FaultyServer) -> None:
    def without_a_way(route: Route) -> None:
        offer = re.sub(r"a=candidate:.*\r\n", "", route.request.post_data or "")
        answer = route.fetch(post_data=offer)
        unreachable = re.sub(r"(a=candidate:\S+ 1 udp \d+ )(\S+)", r"\g<1>192.0.2.1", answer.text())
        route.fulfill(response=answer, body=unreachable)

    watched = tab()
    watched.page.route("**/whep", without_a_way)
    watched.page.route("**/whep/*", lambda route: route.abort())
    watched.open(server.url)
    detail = watched.page.locator("#veil-detail")
    watched.until(lambda: "UDP seems blocked" in detail.inner_text(), "the diagnosis")
    assert "192.0.2.1:" in detail.inner_text()
