"""Summary statistics that every bench uses, so that published figures of one name are one statistic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def quantile(values: Sequence[float], q: float) -> float:
    """The `q` quantile (0..1) with linear interpolation, as numpy's default; NaN of nothing."""
    return float(np.quantile(values, q)) if len(values) else float("nan")


def median(values: Sequence[float]) -> float:
    """`quantile` at 0.5; NaN of nothing."""
    return quantile(values, 0.5)
