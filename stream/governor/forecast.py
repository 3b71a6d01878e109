"""How long a chunk will take: medians of its units, times a learnt ratio of what chunks took to what was predicted."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .costs import CostModel, Window

RATIOS = 48  # chunks remembered
FEW = 8  # with fewer than so many, a guess stands in
GUESS = 1.15


class Forecast:
    """Wall-clock seconds for one session under `load` (1 = alone on the device).

    The 90 % quantile of a sum is not the sum of 90 % quantiles: noise of single units averages out, a slow moment hits
    all of them. Nothing is assumed about which it is; the ratio of whole chunks, measured against their own forecast,
    says how much to allow.
    """

    def __init__(self, costs: CostModel) -> None:
        self.costs = costs
        self.load = 1.0
        self.keys: dict[str, Hashable] = {}  # of this session's units: sizes differ between sessions of one device
        self._ratios = Window(RATIOS, run=RATIOS - 1)

    def key(self, kind: str) -> Hashable:
        """Which units of the kind are this session's."""
        return self.keys.get(kind, ())

    @property
    def known(self) -> bool:
        """Whether a step was ever measured."""
        return self.costs.quantile("step", 0.5) is not None

    @property
    def step(self) -> float:
        """One step."""
        return max(self.costs.estimate("step", 0.5, self.key("step")), 1e-6) * self.load

    def fixed(self, *kinds: str) -> float:
        """The units that come once."""
        return sum(self.costs.estimate(kind, 0.5, self.key(kind)) for kind in kinds) * self.load

    def ready(self, steps: int, before: Sequence[str] = ()) -> float:
        """From the start of a chunk to its frames."""
        return steps * self.step + self.fixed("decode", *before)

    def cycle(self, steps: int) -> float:
        """From the start of a chunk to the start of the next."""
        return self.ready(steps) + self.fixed("append")

    def learn(self, predicted: float, took: float) -> None:
        """A chunk is done."""
        if predicted > 0.0:
            self._ratios.add(took / predicted)

    def ratio(self, q: float) -> float:
        """Quantile of what chunks took to what was predicted."""
        if len(self._ratios) < FEW:
            return GUESS if q > 0.5 else 1.0
        return self._ratios.quantile(q)
