"""Direct a take live at few steps, then get it again at many: python render_take.py http://127.0.0.1:8000 final.mp4 32

The score is saved beside the video; with it the take can be rendered again later, on any machine that has the model:
farcast render final.json --steps 50 -o better.mp4
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import farcast
from farcast.protocol import RenderInfo

CIRCLE, STAR = "a big red circle bouncing on a navy background", "a big blue star spinning on a cream background"


def report(info: RenderInfo) -> None:
    print(f"\r{info.state} {info.progress:4.0%} ", end="", file=sys.stderr)


async def main(url: str, path: str, steps: int = 32) -> None:
    dial = farcast.Dial(latency_ms=700, ceiling=2)  # fast while it is played
    async with farcast.connect(url, prompt=CIRCLE, dial=dial, media=False) as live:
        await live.prompt(STAR)
        await live.prompt(mix={STAR: 0.6, CIRCLE: 0.4}, transition=2)
        await live.pause()
        Path(path).with_suffix(".json").write_text(json.dumps(await live.score()))
        info = await live.render(path, steps=steps, progress=report)
        print(f"{path}: {info.frames} frames at {steps} steps a chunk")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python render_take.py http://127.0.0.1:8000 final.mp4 [STEPS]")
    try:
        asyncio.run(main(*sys.argv[1:3], *map(int, sys.argv[3:4])))
    except farcast.FarcastError as error:
        sys.exit(str(error))
