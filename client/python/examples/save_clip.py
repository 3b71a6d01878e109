"""Save a clip, changing the prompt half way: python save_clip.py http://127.0.0.1:8000 out.mp4"""

from __future__ import annotations

import asyncio
import sys

import farcast


async def main(url: str, path: str, seconds: float = 6.0) -> None:
    async with farcast.connect(url, prompt="a big red circle bouncing on a navy background", seed=1) as live:
        async with live.record(path) as recording:
            await asyncio.sleep(seconds / 2)
            applied = await live.prompt(
                "a big blue star spinning on a cream background"
            )  # returns when it is on screen
            print(f"frame {applied.frame} shows the new prompt, {applied.latency_ms:.0f} ms after it was sent")
            await asyncio.sleep(seconds / 2)
        print(f"{path}: {recording.frames} frames, {recording.seconds:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python save_clip.py http://127.0.0.1:8000 out.mp4 [SECONDS]")
    try:
        asyncio.run(main(*sys.argv[1:3], *map(float, sys.argv[3:4])))
    except farcast.FarcastError as error:
        sys.exit(str(error))
