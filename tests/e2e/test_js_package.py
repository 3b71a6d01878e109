"""The browser package, client/js: a page of one's own starts a session, plays it, and steers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Route

from tests.support.browser_page import bluish
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs

pytestmark = pytest.mark.browser

SCRIPT = """
import { connect } from "../package/index.js";
document.body.dataset.seen = "";
const session = await connect(location.origin, { prompt: "a red circle" }, document.getElementById("video"));
session.on("status", ({ state }) => (document.body.dataset.state = state));
session.on("prompt", ({ status }) => (document.body.dataset.seen += status + " "));
document.getElementById("snapshot").onclick = () => session.prompt({ text: "a big blue circle on a black background" });
"""


def test_a_page_of_ones_own(tab: Tabs, server: FaultyServer, root: Path) -> None:
    """The modules are served as `npm run build` lays them out; the types are checked by `make web-types`."""

    def serve(route: Route) -> None:
        name = route.request.url.split("/package/")[1]
        path = root / "client/js/src/index.js" if name == "index.js" else root / "client/web/js" / name
        route.fulfill(body=path.read_text(), content_type="text/javascript")

    watched = tab()
    watched.page.route("**/package/**", serve)
    # The document is the server's own: Chromium lets one that a test made up open no local WebSocket.
    script = {"body": SCRIPT, "content_type": "text/javascript"}
    watched.page.route("**/js/main.js", lambda route: route.fulfill(**script))
    watched.open(server.url)
    watched.state("live")
    watched.page.evaluate("() => document.getElementById('snapshot').onclick()")
    watched.until(lambda: watched.share(bluish) > 0.05, "the prompt is on screen")
    watched.until(lambda: watched.page.get_attribute("body", "data-seen") == "pending live ", "and was reported")
    assert watched.complaints == []
