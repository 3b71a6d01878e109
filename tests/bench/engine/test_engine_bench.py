from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.engine.against_diffusers import bench_engine
from bench.engine.gpu import bench_gpu, table_lines
from bench.engine.long_stream import slid_deviation
from bench.engine.page import write_page
from bench.engine.plots import draw
from models.checkpoint.bundle import Bundle


@pytest.mark.slow
def test_engine_bench_measures_everything_it_promises(bundle: Bundle, tmp_path: Path) -> None:
    result = bench_engine(
        bundle, larger=replace(bundle, guidance=2.0, name="guided"), steps=1, early=8, late=10, chunks=20,
        partition=(1, 3, 3), endless=bundle, endless_chunks=20,
    )  # fmt: skip
    json.dumps(result["figures"])
    page = write_page(result["figures"], result["bars"], "a machine", "a command")
    assert [path.name for path in draw(result["figures"], tmp_path) if f"({path.name})" not in page] == []
    assert result["figures"]["larger"]["parity_error"] < 1e-4
    assert sum(result["figures"]["profile"]["operations"].values()) == pytest.approx(1)
    assert result["figures"]["profile"]["units"]["decode"]["flops"] > 1e6
    assert result["figures"]["endless"]["last_position"] <= 19 <= result["figures"]["endless"]["trained_positions"]
    assert len(result["figures"]["age"]["drift"]["curve"]) == 2
    figures, bars = result["figures"], {bar.name: bar for bar in result["bars"]}
    assert figures["parity_error"] < 1e-4
    assert len(figures["ours"]["transformer_by_chunk"]) == len(figures["diffusers"]["transformer_by_chunk"]) == 3
    assert bars["flops of chunk 10 over chunk 8"].value == 1.0
    assert figures["age"]["flops"][0] > 1e6
    assert figures["times_faster"] > 0
    assert figures["slid_window_deviation"]["exact"] < 1e-5


@pytest.mark.slow
def test_gpu_bench_proves_itself_on_a_cpu(bundle: Bundle) -> None:
    result = bench_gpu(bundle, steps=(1, 2), ways=("eager", "graphs"), repeats=1)
    json.dumps(result["figures"])
    lines = table_lines(result["figures"])
    assert len(lines) == 4
    assert lines[-1].startswith("failed: graphs: graphs needs a CUDA device")  # and the rest is measured all the same
    assert result["figures"]["ours"][0]["difference"] == 0.0
    assert [row["steps"] for row in result["figures"]["ours"]] == [1, 2]
    assert result["figures"]["step_tflop"] > 0
    assert [row["frames"] for row in result["figures"]["diffusers"]] == [73, 73]


def test_out_of_time_is_said(bundle: Bundle) -> None:
    result = bench_gpu(bundle, steps=(1,), repeats=1, budget_s=0.0)
    assert result["figures"]["skipped"] == ["diffusers at 1 steps: out of time"]


def test_a_rolling_window_deviates_and_an_exact_one_does_not(bundle: Bundle) -> None:
    assert slid_deviation(bundle, "exact", 1, 9) < 1e-5 < slid_deviation(bundle, "rolling", 1, 9) < 0.1
