"""The page itself, against a server without a model: opening it, its sizes, its weight, hands on a keyboard, ears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.browser_page import bluish, reddish
from tests.support.faults import FaultyServer
from tests.support.page_actions import GREEN, Tabs, greenish

pytestmark = pytest.mark.browser


def test_opening_the_address_plays_and_all_files_are_ours(tab: Tabs, server: FaultyServer) -> None:
    watched = tab()
    asked: list[str] = []
    weight: list[int] = []
    watched.page.on("request", lambda request: asked.append(request.url))
    watched.page.on("response", lambda r: weight.append(int(r.headers.get("content-length", 0))))
    watched.open(server.url).playing()
    assert all(url.startswith((server.url, "blob:", "data:")) for url in asked)
    assert 20_000 < sum(weight) < 200_000
    assert watched.share(reddish) > 0.03  # the first example, without a word typed
    before = watched.pixels()
    watched.until(lambda: watched.pixels() != before, "the picture moves")
    assert watched.complaints == []


def test_nothing_overflows_and_charts_are_drawn(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    rate = watched.page.locator(".chart output", has_text="kbit/s")
    watched.until(lambda: rate.count() == 1, "the bitrate is measured")
    for width in (320, 390, 768, 1280):
        watched.page.set_viewport_size({"width": width, "height": 844})
        watched.page.wait_for_timeout(300)
        assert watched.page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, width
        inked = watched.page.evaluate(
            "() => [...document.querySelectorAll('.chart canvas')].map(c =>"
            "c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 0))"
        )
        assert inked == [True] * 6, width


# What has the focus: its name, whether it has one for a screen reader, whether one sees the focus on it.
VISIT = """() => {
    const at = document.activeElement;
    if (at === document.body) return null;
    const label = at.ariaLabel || at.getAttribute("aria-labelledby") || at.labels?.[0]?.innerText || at.innerText;
    const ring = getComputedStyle(at.classList.contains("hidden") ? at.parentElement : at).outlineStyle;
    const again = "visited" in at.dataset;
    at.dataset.visited = "";
    return [at.id || at.className, !!label?.trim(), ring !== "none" || !!at.closest(".composer"), again];
}"""


def test_everything_is_reached_named_and_marked_by_keyboard(tab: Tabs, server: FaultyServer) -> None:
    watched = tab().open(server.url).playing()
    page = watched.page
    page.locator("#advanced summary").click()
    page.click("#mix-toggle")
    watched.until(lambda: page.locator('.tile[tabindex="0"]').count() == 1, "one tile can be reached")
    page.click("#pause")  # so that no control comes or goes meanwhile
    watched.state("paused")
    for _ in range(80):
        page.keyboard.press("Tab")
        visit = page.evaluate(VISIT)
        if visit is None:
            continue  # past the last one, on to the first
        name, named, marked, again = visit
        if again:
            break
        assert named, f"{name} has a name for a screen reader"
        assert marked, f"one sees that {name} has the focus"
    unvisited = page.evaluate(
        "() => [...document.querySelectorAll('button, input, select, textarea, summary, a[href]')]"
        ".filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && !('visited' in e.dataset))"
        ".map((e) => e.id || e.className || e.innerText)"
    )
    assert unvisited == []
    transport = {"pause", "stop", "snapshot", "record", "score", "recording", "render-steps", "render"}
    visited = set(page.evaluate("() => [...document.querySelectorAll('[data-visited]')].map(e => e.id || e.className)"))
    assert transport | {"new-take", "prompt", "prompt-b", "mix", "send", "dial", "file", "camera", "tile"} <= visited


def test_accessibility(tab: Tabs, server: FaultyServer, root: Path) -> None:
    axe = root / "client/web/node_modules/axe-core/axe.min.js"
    if not axe.exists():
        pytest.skip("axe-core is not installed: npm install in client/web")
    watched = tab(bypass_csp=True, reduced_motion="reduce").open(server.url).playing()
    watched.page.locator("#advanced summary").click()
    watched.say("a blue circle")
    watched.page.wait_for_timeout(1500)
    watched.page.evaluate(axe.read_text())
    tags = "['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']"
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
        watched.page.set_viewport_size({"width": width, "height": 844})
        watched.page.emulate_media(color_scheme=scheme)
        watched.page.wait_for_timeout(400)
        found = watched.page.evaluate(f"() => axe.run({{runOnly: {tags}}})")
        bad = [(v["id"], v["impact"], [n["target"] for n in v["nodes"]][:3]) for v in found["violations"]]
        assert bad == [], (width, scheme)


def test_reduced_motion_is_respected(tab: Tabs, server: FaultyServer) -> None:
    watched = tab(reduced_motion="reduce").open(server.url).playing()
    moving = watched.page.evaluate("() => document.getAnimations().filter(a => a.playState === 'running').length")
    assert moving == 0


def test_fractions_of_colour_are_measured_right() -> None:
    """The instrument itself: the colour tests above rest on it."""
    assert reddish(220, 50, 48)
    assert not reddish(18, 28, 78)
    assert bluish(44, 92, 222)
    assert not bluish(18, 28, 78)
    assert np.mean([greenish(*GREEN)]) == 1
