"""When in the recording is a packet shown? Pure.

A live session may slow down for a slow engine, stop for a moment or be paused; its media time tells. The recording is
the video at the rate it was generated for: every frame exactly one frame interval after the one before, wherever the
picture moved. Where it stood, it stands in the recording too, for as many whole intervals, but not longer than `HOLD`.
"""

from __future__ import annotations

from stream.playout import TICKS

SLOW = 2.5  # frame intervals; the slowest playout, 8 fps of 16, is 2 apart. Beyond that the picture stood
HOLD = 5.0  # seconds; a pause of an hour is no hour of film


class Timeline:
    """`frames`: length so far in frame intervals of `step` ticks."""

    def __init__(self, fps: float) -> None:
        self.step = TICKS / fps
        self.frames = 0
        self._hold = round(HOLD * fps)
        self._last: int | None = None
        self._stood = 0  # intervals since the picture last moved

    @property
    def stands(self) -> bool:
        """The picture has stood for as long as it may."""
        return self._stood >= self._hold

    def place(self, ticks: int) -> int:
        """The place (in ticks) of the packet that is shown at media time `ticks`."""
        passed = 0.0 if self._last is None else (ticks - self._last) / self.step
        if self._last is None:
            slots = 0
        elif passed <= SLOW:
            slots, self._stood = 1, 0
        else:
            slots = max(1, min(round(passed), self._hold - self._stood))
            self._stood += slots
        self._last = ticks
        self.frames += slots
        return round(self.frames * self.step)
