"""One quantile for every bench: published figures of one name are one statistic."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

from bench.stats import median, quantile

BENCH = Path(__file__).parents[2] / "bench"


def test_quantiles_interpolate_as_numpy_does() -> None:
    values = [5.0, 1.0, 3.0, 9.0]
    for q in (0.0, 0.25, 0.5, 0.9, 0.95, 1.0):
        assert quantile(values, q) == pytest.approx(np.quantile(values, q))
    assert quantile([5.0, 1.0, 3.0], 0.9) == pytest.approx(4.6)
    assert median([1.0, 2.0, 4.0, 100.0]) == 3.0


def test_of_nothing_a_quantile_is_not_a_number() -> None:
    assert math.isnan(quantile([], 0.9))
    assert math.isnan(median([]))


def test_no_bench_has_a_quantile_or_a_median_of_its_own() -> None:
    defined = {
        (path.relative_to(BENCH).as_posix(), node.name)
        for path in BENCH.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name in ("quantile", "median", "percentile")
    }
    assert defined == {("stats.py", "quantile"), ("stats.py", "median")}
