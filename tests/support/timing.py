"""Bounds in seconds hold on a machine that is free; on one that others keep busy they stretch as its work does."""

from __future__ import annotations

import os


def slack() -> float:
    """1 on a free machine; n where n times as much wants to run as there are cores for."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
