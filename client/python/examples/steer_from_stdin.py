"""Every line typed becomes the prompt; `/dial 500` moves the dial: python steer_from_stdin.py http://127.0.0.1:8000

The page or any other viewer can watch the same session; here the events are printed as they come.
"""

from __future__ import annotations

import asyncio
import sys

import farcast
from farcast import events


async def report(live: farcast.Live) -> None:
    async for event in live.events():
        match event:
            case events.Chunk(index=index, steps=steps, took_ms=took):
                print(f"\rchunk {index}: {steps} steps in {took:.0f} ms ", end="", file=sys.stderr)
            case events.Underrun(count=count):
                print(f"\nthe picture stood still ({count} times so far)", file=sys.stderr)
            case events.Disconnected(part=part):
                print(f"\n{part} lost, reconnecting ...", file=sys.stderr)


async def obey(live: farcast.Live, line: str) -> None:
    try:
        if line.startswith("/dial "):
            dial = (await live.dial(float(line.removeprefix("/dial ")))).dial
            print(f"dial: {dial.latency_ms:.0f} ms")
        else:
            applied = await live.prompt(line)
            print(f"on screen at frame {applied.frame}: {applied.text}")
    except (farcast.FarcastError, ValueError) as error:  # a refused prompt is no reason to leave
        print(error)


async def main(url: str) -> None:
    async with farcast.connect(url, prompt="a red circle drifting on a black background") as live:
        reporting = asyncio.create_task(report(live))
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip():
                await obey(live, line.strip())
        reporting.cancel()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python steer_from_stdin.py http://127.0.0.1:8000")
    try:
        asyncio.run(main(sys.argv[1]))
    except farcast.FarcastError as error:
        sys.exit(str(error))
