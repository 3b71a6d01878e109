"""When in the recording is a packet shown? Pure.

A live session may slow down for a slow engine, or stand still until the next chunk comes. The recording is the video
at the rate it was generated for: every frame exactly one frame interval after the one before. Only a pause that
somebody asked for is in it as what it was, a picture that stands for as many whole intervals, up to `HOLD`.
"""

from __future__ import annotations

from stream.video.playout import TICKS

HOLD = 5.0  # seconds; a pause of an hour is no hour of film


class Timeline:
    """`frames`: length so far in frame intervals of `step` ticks."""

    def __init__(self, fps: float) -> None:
        self.step = TICKS / fps
        self.frames = 0
        self._hold = round(HOLD * fps)
        self._last: int | None = None
        self._stood = 0  # intervals of the pause so far

    @property
    def held(self) -> bool:
        """The pause is as long as it may become."""
        return self._stood >= self._hold

    def place(self, ticks: int, *, paused: bool = False) -> int:
        """The place (in ticks) of the packet that is shown at media time `ticks`; `paused`: it is part of a pause, or
        the first one after it."""
        slots = 0 if self._last is None else 1
        if paused and self._last is not None:
            slots = max(1, min(round((ticks - self._last) / self.step), self._hold - self._stood))
        self._stood = self._stood + slots if paused else 0
        self._last = ticks
        self.frames += slots
        return round(self.frames * self.step)
