"""docs/results/gpu.md: what the meta device predicts of two cards, marked as predicted."""

from __future__ import annotations

import torch

from .predict import CARDS, LAUNCH_S, Card, table_lines, unit_costs

SIZES = ("1.3b", "14b")

HEAD = """# On a GPU: predicted, not measured

**No GPU has run this code.** Every number on this page is counted on PyTorch's meta device, which runs the same Python
code with shapes alone, and turned into time by a roofline. `farcast bench gpu --predict --output docs/results/gpu.md`
writes this page on any machine; `farcast bench gpu` measures on a card, and its numbers belong beside these.

How a time is made: a kernel takes its operations at the card's rate or its bytes at the card's bandwidth, whichever is
longer, and {launch:.1f} us at least. Every kernel is counted as the eager code launches it; attention and RMS norm
count as one kernel each. Units run one after the other. The rates are assumptions, what such cards reach in large
products:

| card | matrix, attention (bf16) | convolution (bf16) | memory |
|---|---|---|---|
{cards}

What such a count cannot see: launches that come too slowly from Python (1,150 kernels a step at 1.3B: eager code may be
bound by that, CUDA graphs are for it), a convolution algorithm that cuDNN picks badly, clocks that throttle, and memory
that fragments. A peak is what one unit allocates over what was there before.
"""

TAIL = """## Never run

- anything on CUDA: events and their timing, pinned copies, CUDA graphs, `--execution graphs` and `compile+graphs`,
  inductor's GPU kernels, cuDNN and flash attention;
- the published weights at any size on a GPU; the table uses random weights of the same shapes;
- more than one card.

What stands in for it in the tests: a rollout of both sizes in bf16 on the meta device in every append mode, guided and
not, with both decoders, which fails on a number read from the device, on tensors of two devices and on a copy too
many (`tests/models/rollout/test_meta_device.py`); budgets for the counts of this page
(`tests/bench/engine/test_predict.py`); and the engine over a simulated asynchronous device
(`tests/stream/engine/test_asynchronous_device.py`).
"""


def predicted_page() -> str:
    """The page. Takes a minute or two: every unit of both sizes runs on the meta device."""
    parts = [HEAD.format(launch=1e6 * LAUNCH_S, cards="\n".join(map(_row, CARDS)))]
    parts += ["\n".join(table_lines(size, unit_costs(size))) for size in SIZES]
    return "\n".join([*parts, TAIL, f"Counted with PyTorch {torch.__version__}.", ""])


def _row(card: Card) -> str:
    rates = f"{card.matrix / 1e12:.0f} TFLOP/s | {card.convolution / 1e12:.0f} TFLOP/s"
    return f"| {card.name} | {rates} | {card.bandwidth / 1e12:.1f} TB/s |"
