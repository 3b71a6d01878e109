"""A viewer that looks: Chromium, which reads the number of every frame it shows back from the pixels of its <video>."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from stream.errors import ConfigError

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--autoplay-policy=no-user-gesture-required",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CLOCK_TRIES = 25

SCRIPT = """
window.eye = {shown: [], began: 0, first: null};
const clock = () => performance.timeOrigin + performance.now();
async function offer() {
    eye.began = clock();
    const pc = window.pc = new RTCPeerConnection();
    pc.addTransceiver("video", {direction: "recvonly"});
    const video = window.video = Object.assign(document.createElement("video"), {muted: true, playsInline: true});
    document.body.append(video);
    pc.ontrack = (event) => {
        video.srcObject = new MediaStream([event.track]);
        video.play();
        const canvas = document.createElement("canvas");
        const brush = canvas.getContext("2d", {willReadFrequently: true});
        const look = () => {
            const now = clock();
            video.requestVideoFrameCallback(look);
            const wide = video.videoWidth, edge = Math.floor(wide / 16);
            if (!edge) return;
            if (canvas.width !== wide) { canvas.width = wide; canvas.height = 2 * edge; }
            brush.drawImage(video, 0, 0, wide, 2 * edge, 0, 0, wide, 2 * edge);
            const data = brush.getImageData(0, 0, wide, 2 * edge).data;
            let number = 0, sure = true;
            for (let i = 0; i < 16; i++) {
                const x = i * edge + (edge >> 1);
                const above = data[4 * (wide * (edge >> 1) + x)], below = data[4 * (wide * (edge + (edge >> 1)) + x)];
                if (Math.abs(above - below) < 40) sure = false;
                if (above > below) number |= 1 << i;
            }
            if (eye.first === null) eye.first = now;
            eye.shown.push([sure ? number : -1, now]);
        };
        video.requestVideoFrameCallback(look);
    };
    await pc.setLocalDescription(await pc.createOffer());
    return pc.localDescription.sdp;
}
async function answer(sdp) { await pc.setRemoteDescription({type: "answer", sdp}); }
async function watch(url, token) {
    const headers = {"Content-Type": "application/sdp", Authorization: "Bearer " + token};
    const sdp = await offer();
    const reply = await fetch(url, {method: "POST", headers, body: sdp});
    await answer(await reply.text());
    while (eye.first === null) await new Promise((next) => setTimeout(next, 5));
    return eye.first - eye.began;
}
async function received() {
    for (const report of (await pc.getStats()).values())
        if (report.type === "inbound-rtp")
            return {bytes: report.bytesReceived, decoded: report.framesDecoded, lost: report.packetsLost,
                    freezes: report.freezeCount || 0, frozen: report.totalFreezesDuration || 0,
                    nack: report.nackCount || 0, pli: report.pliCount || 0};
    return {};
}
"""


def find_chromium(path: str | None = None) -> str | None:
    """An installed Chromium; None = Playwright's own."""
    return path or next((found for name in NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def browser(executable: str | None = None) -> AsyncIterator[Any]:
    """A Chromium, through Playwright. Raises ConfigError where that is not installed."""
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        raise ConfigError(
            "This bench looks through a browser: pip install '.[bench]' in the checkout, which brings Playwright."
        ) from None
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=find_chromium(executable), args=FLAGS)
        try:
            yield chromium
        finally:
            await chromium.close()


@dataclass
class Sight:
    """What an eye saw: (number, wall clock of the server's machine). -1: could not be read."""

    shown: list[tuple[int, float]] = field(default_factory=list)

    def latencies(self, left: dict[int, float]) -> list[float]:
        """Seconds from leaving the playout clock to being on screen, for every frame."""
        return [at - left[number] for number, at in self.shown if number in left]

    def gaps(self) -> list[float]:
        return [b[1] - a[1] for a, b in zip(self.shown, self.shown[1:], strict=False)]


class Eye:
    """One tab that watches one session."""

    def __init__(self, page: Any, offset: float) -> None:
        self.page = page
        self.offset = offset  # seconds to add to the tab's clock
        self._seen = 0

    @classmethod
    async def open(cls, chromium: Any, url: str) -> Eye:
        """A tab on a page of the server, its clock compared with ours."""
        page = await (await chromium.new_context(bypass_csp=True)).new_page()
        await page.goto(f"{url}healthz")
        await page.add_script_tag(content=SCRIPT)
        tries = []
        for _ in range(CLOCK_TRIES):
            before = time.time()
            there = await page.evaluate("clock()") / 1e3
            after = time.time()
            tries.append((after - before, (before + after) / 2 - there))
        return cls(page, min(tries)[1])

    async def watch(self, url: str, token: str) -> float:
        """Begin to watch. Returns seconds until the first picture, everything included."""
        return float(await self.page.evaluate("([url, token]) => watch(url, token)", [url, token])) / 1e3

    async def watch_through(
        self, http: httpx.AsyncClient, url: str, headers: dict[str, str], network: Callable[[str], Any]
    ) -> None:
        """Begin to watch through a network: `network(answer)` gives the answer as this side is to see it."""
        from .lossy_proxy import without_candidates

        sdp = without_candidates(await self.page.evaluate("offer()"))
        reply = await http.post(url, content=sdp, headers={**headers, "Content-Type": "application/sdp"})
        reply.raise_for_status()
        await self.page.evaluate("(sdp) => answer(sdp)", await network(reply.text))

    async def first_picture(self, seconds: float = 30.0) -> None:
        """Until it shows something. Raises Playwright's TimeoutError."""
        await self.page.wait_for_function("() => eye.first !== null", timeout=1e3 * seconds)

    async def look(self) -> Sight:
        """What was shown since the last look."""
        shown = await self.page.evaluate("(n) => eye.shown.slice(n)", self._seen)
        self._seen += len(shown)
        return Sight([(int(number), at / 1e3 + self.offset) for number, at in shown])

    async def received(self) -> dict[str, float]:
        found: dict[str, float] = await self.page.evaluate("received()")
        return found

    async def close(self) -> None:
        await self.page.evaluate("window.pc && pc.close()")
        await self.page.context.close()


