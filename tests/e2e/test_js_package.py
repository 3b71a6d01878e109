"""The browser package, client/js: a page of one's own starts a session, plays it, and steers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Route

from tests.support.browser_page import bluish
from tests.support.faults import FaultyServer
from tests.support.page_actions import Tabs

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><video id="video" width="128" height="128"></video><script type="module">
import { connect } from "./index.js";
document.body.dataset.seen = "";
const session = await connect(location.origin, { prompt: "a red circle" }, document.querySelector("video"));
session.on("status", ({ state }) => (document.body.dataset.state = state));
session.on("prompt", ({ status }) => (document.body.dataset.seen += status + " "));
document.body.onclick = () => session.prompt({ text: "a big blue circle on a black background" });
</script>"""


def test_a_page_of_ones_own(tab: Tabs, server: FaultyServer, root: Path) -> None:
    """The modules are served as `npm run build` lays them out; the types are checked by `make web-types`."""

    def serve(route: Route) -> None:
        name = route.request.url.split("/package/")[1] or "index.html"
        if name == "index.html":
            return route.fulfill(body=PAGE, content_type="text/html")
        path = root / "client/js/src/index.js" if name == "index.js" else root / "client/web/js" / name
        return route.fulfill(body=path.read_text(), content_type="text/javascript")

    watched = tab()
    watched.page.route("**/package/**", serve)
    watched.open(server.url.rstrip("/") + "/package/")
    watched.state("live")
    watched.page.click("#video")
    watched.until(lambda: watched.share(bluish) > 0.05, "the prompt is on screen")
    watched.until(lambda: watched.page.get_attribute("body", "data-seen") == "pending live ", "and was reported")
    assert watched.complaints == []
