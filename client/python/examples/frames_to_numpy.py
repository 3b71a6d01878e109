"""Feed frames to a function of your own: python frames_to_numpy.py http://127.0.0.1:8000

`analyse` stands for OpenCV, a tracker, a classifier. When it is slower than the stream, old frames are let go, so what
it sees is always fresh. This is the blocking client, as a notebook would use it.
"""

from __future__ import annotations

import sys

import farcast
import numpy as np
from numpy.typing import NDArray


def analyse(image: NDArray[np.uint8]) -> tuple[str, float]:
    """(height, width, 3) RGB -> the strongest channel and how much of the picture moves with it."""
    means = image.reshape(-1, 3).mean(0)
    return ("red", "green", "blue")[int(means.argmax())], float(image.std())


def main(url: str, count: int = 32) -> None:
    with farcast.sync.connect(url, prompt="a green triangle pulsing on a black background") as live:
        for frame in live.frames(buffer=2):
            colour, contrast = analyse(frame.image)
            print(f"{frame.pts:7.2f} s  {colour:<5}  contrast {contrast:5.1f}")
            if frame.index + 1 >= count:
                break
        print(f"{live.stats().dropped} frames came faster than analyse() took them")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python frames_to_numpy.py http://127.0.0.1:8000 [FRAMES]")
    try:
        main(sys.argv[1], *map(int, sys.argv[2:3]))
    except farcast.FarcastError as error:
        sys.exit(str(error))
