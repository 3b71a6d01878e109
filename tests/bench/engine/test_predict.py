"""Budgets of each unit at the published sizes: a change that adds traffic, kernels or memory fails here."""

from __future__ import annotations

import pytest
import torch

from bench.engine.meter import Kernel, Meter
from bench.engine.predict import CARDS, H100, H200, Cost, chunk_seconds, table_lines, unit_costs

# unit: TFLOP, GB moved by elementwise kernels, kernels, GB at the peak. What was counted, and a few per cent.
BUDGETS = {
    "1.3b": {
        "step": (27.5, 46.5, 1170, 0.34),
        "step, guided": (55.0, 92.0, 1175, 0.67),
        "append exact": (52.0, 127.0, 1540, 1.0),
        "append rolling": (45.5, 109.0, 1800, 0.85),
        "append cheap": (26.5, 72.0, 2000, 0.6),
        "context again (new prompt)": (53.0, 131.0, 1640, 1.05),
        "decode, Wan": (41.0, 312.0, 1250, 4.8),
        "decode, TAEHV": (1.7, 7.5, 115, 1.4),
    },
}


@pytest.fixture(scope="module")
def small() -> dict[str, Cost]:
    return {cost.unit: cost for cost in unit_costs("1.3b")}


@pytest.mark.parametrize("unit", BUDGETS["1.3b"])
def test_units_stay_within_their_budgets(small: dict[str, Cost], unit: str) -> None:
    cost = small[unit]
    counted = (cost.flops / 1e12, cost.elementwise / 1e9, cost.kernels, cost.peak / 1e9)
    assert all(count <= most for count, most in zip(counted, BUDGETS["1.3b"][unit], strict=True)), counted


def test_the_table_has_every_unit_and_both_cards(small: dict[str, Cost]) -> None:
    text = "\n".join(table_lines("1.3b", list(small.values())))
    for word in (*small, *(card.name for card in CARDS), "4 steps, decode, TAEHV"):
        assert word in text
    assert chunk_seconds(list(small.values()), H200, 4) < chunk_seconds(list(small.values()), H100, 4)


def test_a_kernel_takes_its_operations_or_its_bytes() -> None:
    assert H100.seconds(Kernel("matrix", "mm", int(600e9), 0)) == pytest.approx(1e-3)
    assert H100.seconds(Kernel("convolution", "conv", int(400e9), 0)) == pytest.approx(1e-3)
    assert H100.seconds(Kernel("elementwise", "add", 0, int(2.6e9))) == pytest.approx(1e-3)


def test_the_meter_counts_reads_writes_and_the_peak() -> None:
    a = torch.empty(1000, device="meta")
    with Meter() as meter:
        b = a + 1  # reads and writes 4000 bytes
        b.mul_(2)
        del b
        a.view(10, 100)[:, :5].copy_(torch.zeros(10, 5, device="meta"))
    assert [kernel.bytes for kernel in meter.kernels] == [8000, 8000, 200, 400]
    assert meter.peak == 4000
    assert meter.live == 0
