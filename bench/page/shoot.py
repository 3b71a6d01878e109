"""Pictures and figures of the page on a running server: python -m bench.page.shoot URL [FOLDER] [--page FILE.md].

Plays a take (a prompt, a mix, a picture, a branch, a render) and pictures it at 1280 and 390 wide, light and dark, as
WebP. Measures the time to the first frame, and the weight; --page writes the figures between the marks in FILE.md.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from .scenes import LIVE, chromium, drop, examples, open_page, wait_for_prompt

CLICKS = 5
MARKS = ("<!-- figures -->", "<!-- /figures -->")
FILES = """() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter((e) => !e.name.includes("/v1/")).map((e) => e.decodedBodySize)"""


def first_frame(page: Page) -> float:
    """ms from the command to the first frame, as the page measures it."""
    page.wait_for_selector(LIVE, timeout=60_000)
    return float(page.get_attribute("body", "data-first-frame-ms") or "nan")


def measure(browser: Browser, url: str) -> list[tuple[str, str, str]]:
    """Rows of (what, figure, how)."""
    page = open_page(browser, url, viewport={"width": 1280, "height": 800})
    opened = first_frame(page)
    sizes = page.evaluate(FILES)
    clicks = []
    for _ in range(CLICKS):
        page.wait_for_timeout(1500)
        page.evaluate("() => delete document.body.dataset.firstFrameMs")
        page.click("#new-take")
        clicks.append(first_frame(page))
    page.click("#stop")
    page.close()
    model = page_model(url)
    return [
        (
            "first frame after the page was opened",
            f"{opened / 1000:.2f} s",
            f"`{model}`, load {os.getloadavg()[0]:.1f}",
        ),
        (
            "first frame after a click on New take",
            f"{statistics.median(clicks) / 1000:.2f} s (median of {CLICKS}; {min(clicks) / 1000:.2f} to "
            f"{max(clicks) / 1000:.2f})",
            "from the click to the frame on the page",
        ),
        ("weight of everything the page loads", f"{sum(sizes) / 1000:.0f} kB", f"{len(sizes)} files, not compressed"),
    ]


def page_model(url: str) -> str:
    import json
    import urllib.request

    with urllib.request.urlopen(f"{url.rstrip('/')}/v1/model", timeout=30) as answer:
        return str(json.load(answer)["name"])


def play(page: Page) -> None:
    """A take with something of everything in it."""
    words = examples(page)
    page.wait_for_timeout(4000)
    page.locator("#examples button").nth(1).click()
    wait_for_prompt(page)
    page.wait_for_timeout(3500)
    page.click("#mix-toggle")
    page.fill("#prompt-b", words[2])
    page.fill("#mix", "35")
    page.press("#prompt-b", "Enter")
    wait_for_prompt(page)
    page.wait_for_timeout(2500)
    drop(page)
    page.wait_for_timeout(5000)
    page.select_option("#render-steps", "8")
    page.click("#render:enabled")
    tiles = page.locator(".tile")
    tiles.nth(max(0, tiles.count() - 6)).click()
    page.wait_for_timeout(6000)


def shoot(browser: Browser, url: str, folder: Path) -> None:
    page = open_page(browser, url, viewport={"width": 1280, "height": 1250})
    play(page)
    for width, height in ((1280, 1250), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
            page.wait_for_timeout(1500)
            with Image.open(io.BytesIO(page.screenshot())) as picture:
                target = folder / f"page-{width}-{scheme}.webp"
                picture.convert("RGB").save(target, quality=84, method=6)
            print(f"{target}  {target.stat().st_size / 1000:.0f} kB")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.click("#stop")
    page.close()


def write(rows: list[tuple[str, str, str]], file: Path) -> None:
    """Put the table between the marks."""
    text = file.read_text()
    before, rest = text.split(MARKS[0], 1)
    after = rest.split(MARKS[1], 1)[1]
    table = "\n".join(["| what | figure | how |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])
    file.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    with chromium() as browser:
        rows = measure(browser, options.url)
        for row in rows:
            print(": ".join(row))
        if options.page:
            write(rows, options.page)
        if options.folder:
            options.folder.mkdir(parents=True, exist_ok=True)
            shoot(browser, options.url, options.folder)


if __name__ == "__main__":
    main()
