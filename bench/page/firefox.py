"""Does the page play in Firefox? python -m bench.page.firefox URL [PICTURE.png].

Drives the Firefox on the path (`firefox-esr` or `firefox`) by WebDriver BiDi, which needs no driver program: waits for
the first frame, sends a prompt, prints what the page says about itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import websockets

# Loopback is no network to Firefox's ICE, and host names are hidden: neither suits a server on this machine.
PREFERENCES = """
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.autoplay.default", 0);
user_pref("app.update.enabled", false);
"""
STANDING = "document.body.dataset.state + ' ' + document.body.dataset.firstFrameMs"
SEND = """document.getElementById('prompt').value = 'a big blue circle on a white background';
document.getElementById('prompt-form').requestSubmit();"""
REPORT = """[document.querySelector('#prompt-log li').innerText.replace('\\n', ': '),
    document.getElementById('stat-fps').textContent + ' fps',
    [...document.querySelectorAll('.chart figcaption')].map((c) => c.innerText.replaceAll('\\n', ' ')).join('; ')
].join('\\n')"""


async def drive(url: str, port: int) -> tuple[bool, bytes]:
    """Whether it plays, and a screenshot (PNG)."""
    socket_ = await reach(port)
    numbers = count(1)

    async def command(method: str, **parameters: Any) -> dict[str, Any]:
        number = next(numbers)
        await socket_.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(await socket_.recv())).get("id") != number:
            pass
        if answer["type"] == "error":
            raise RuntimeError(f"{method}: {answer['message']}")
        return dict(answer["result"])

    async def evaluate(expression: str) -> Any:
        target = {"context": context}
        done = await command("script.evaluate", expression=expression, target=target, awaitPromise=True)
        return done["result"].get("value")

    session = await command("session.new", capabilities={})
    print("Firefox", session["capabilities"]["browserVersion"])
    context = (await command("browsingContext.getTree"))["contexts"][0]["context"]
    await command("browsingContext.setViewport", context=context, viewport={"width": 1280, "height": 800})
    await command("browsingContext.navigate", context=context, url=url, wait="complete")
    for _ in range(60):
        standing = await evaluate(STANDING)
        if standing.startswith("live") and "undefined" not in standing:
            break
        await asyncio.sleep(1)
    print(standing)
    await evaluate(SEND)
    await asyncio.sleep(6)
    print(await evaluate(REPORT))
    shot = await command("browsingContext.captureScreenshot", context=context)
    return bool(standing.startswith("live")), base64.b64decode(shot["data"])


async def reach(port: int) -> websockets.ClientConnection:
    for _ in range(60):
        try:
            return await websockets.connect(f"ws://127.0.0.1:{port}/session", max_size=None)
        except OSError:
            await asyncio.sleep(1)
    raise SystemExit("Firefox did not open its remote port within a minute.")


def main() -> int:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if not program:
        raise SystemExit("No Firefox on the path. On Debian: apt install firefox-esr")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        Path(profile, "user.js").write_text(PREFERENCES)
        command = [program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", str(port)]
        firefox = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            plays, shot = asyncio.run(drive(sys.argv[1], port))
            if len(sys.argv) > 2:
                Path(sys.argv[2]).write_bytes(shot)
            return 0 if plays else 1
        finally:
            firefox.terminate()
            firefox.wait(20)


if __name__ == "__main__":
    raise SystemExit(main())
