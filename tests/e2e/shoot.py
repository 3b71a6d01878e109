"""Screenshots of the page to look at, desktop and phone, light and dark: python tests/e2e/shoot.py URL FOLDER.

Plays the take for a while, changes the prompt once, and prints how long the first frame took.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-features=WebRtcHideLocalIpsWithMdns"]
SIZES = {1280: 800, 390: 844}


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        path = next((p for p in ("/usr/bin/chromium", "/usr/bin/google-chrome") if Path(p).exists()), None)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector("body[data-first-frame-ms][data-state=live]", timeout=120_000)
        print(f"first frame after {page.get_attribute('body', 'data-first-frame-ms')} ms")
        page.wait_for_timeout(7000)
        page.locator("#examples button").nth(1).click()
        page.wait_for_timeout(12_000)
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
                page.wait_for_timeout(1500)
                page.screenshot(path=folder / f"page-{width}-{scheme}.png")
        print(f"page weight {weight(page.evaluate(SIZE_OF_FILES)) / 1000:.0f} kB")
        browser.close()


SIZE_OF_FILES = """() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .filter((e) => !e.name.includes("/v1/")).map((e) => e.decodedBodySize)"""


def weight(sizes: list[float]) -> float:
    return sum(sizes)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
