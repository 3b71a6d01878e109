"""Takes rendered again at other step counts, compared with the live ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from farcast.protocol import Score, parse_score

if TYPE_CHECKING:
    import numpy as np

    from models.checkpoint.bundle import Bundle
    from models.evaluation.tasks.take_similarity import Similarity, Stretch, TakeQuality


CHUNKS = (5, 5, 4)  # under each prompt; the third begins a new shot from a picture


ANOTHER = "another seed"


def directed(bundle: Bundle, live_steps: int, seed: int) -> tuple[Score, list[Any]]:
    """A take as somebody might direct it, and the scene that each of its prompts asks for."""
    import base64
    import io

    from PIL import Image

    from models.checkpoint.fingerprint import fingerprint
    from models.evaluation.prompts import generator
    from models.rollout.flowmap import schedule
    from models.toyworld import caption, random_scene, render, simulate

    rng = generator("render", seed)
    scenes = [random_scene(rng) for _ in CHUNKS]
    start = render(simulate([(0, scenes[2])], 8, rng), bundle.height)[0]
    data = io.BytesIO()
    Image.fromarray(start).resize((bundle.width, bundle.height)).save(data, "PNG")
    picture = base64.b64encode(data.getvalue()).decode()
    sigmas = schedule(live_steps, bundle.shift)
    at = [sum(CHUNKS[:number]) for number in range(len(CHUNKS))]
    document = {
        "score": 1,
        "model": bundle.name,
        "weights": fingerprint(bundle),
        "seed": int(rng.integers(2**31)),
        "guidance": bundle.guidance,
        "width": bundle.width,
        "height": bundle.height,
        "fps": float(bundle.fps),
        "chunks": sum(CHUNKS),
        "entries": [
            {"chunk": 0, "prompt": caption(scenes[0])},
            {"chunk": 0, "steps": live_steps, "sigmas": sigmas},
            {"chunk": at[1], "prompt": caption(scenes[1])},
            {"chunk": at[2], "prompt": caption(scenes[2])},
            {"chunk": at[2], "image": picture},
        ],
    }
    return parse_score(document), scenes


class Study:
    """Takes, each live and at every budget, and what they have in common. Keeps the first one's frames for the clip."""

    def __init__(self, bundle: Bundle, budgets: Sequence[int], live_steps: int | None) -> None:
        self.bundle = bundle
        self.live_steps = live_steps  # None = whatever the score says
        self.budgets = list(budgets)
        self.likeness: dict[str, list[Similarity]] = {}
        self.looks: dict[str, list[TakeQuality]] = {}
        self.stretches: list[Stretch] = []
        self.sample: dict[str, np.ndarray] = {}
        self.prompts: list[str] = []
        self.exact = True

    def add(self, score: Score, scenes: Sequence[Any]) -> None:
        """Make one take in every way. Raises ScoreError for one of another model."""
        from models.evaluation.tasks.take_similarity import compare, take_quality

        live, stretches = self._make(score, None, scenes)
        again, _ = self._make(score, None, scenes)
        self.exact = self.exact and bool((live == again).all())
        made = {str(budget): self._make(score, budget, scenes)[0] for budget in self.budgets}
        made[ANOTHER] = self._make(score.model_copy(update={"seed": score.seed + 1, "checks": []}), None, scenes)[0]
        for name, frames in made.items():
            self.likeness.setdefault(name, []).append(compare(live, frames, stretches))
        for name, frames in {"live": live, **made}.items():
            self.looks.setdefault(name, []).append(take_quality(frames, stretches))
        if not self.sample:
            self.sample, self.stretches = {"live": live, **made}, stretches
            self.prompts = [entry.prompt for entry in score.entries if entry.prompt is not None]

    def _make(self, score: Score, steps: int | None, scenes: Sequence[Any]) -> tuple[np.ndarray, list[Stretch]]:
        import numpy as np

        from models.evaluation.tasks.take_similarity import Stretch
        from stream.score.replay import Replay

        chunks = list(Replay(self.bundle, score, steps=steps))
        frames = np.concatenate([chunk.frames for chunk in chunks])
        begins = [chunk.frame for chunk in chunks if {"prompt", "image", "clip"} & set(chunk.events)]
        ends = [*begins[1:], len(frames)]
        known = list(scenes) if len(scenes) == len(begins) else [None] * len(begins)
        return frames, [Stretch(a, b, scene) for a, b, scene in zip(begins, ends, known, strict=True)]

    def figures(self) -> dict[str, Any]:
        """Means over all takes; `curves` frame by frame."""
        import numpy as np

        def over_time(name: str, values: Sequence[Similarity]) -> list[float | None]:
            stack = np.stack([getattr(value, name) for value in values])
            known = np.isfinite(stack)
            total = np.where(known, stack, 0.0).sum(0)
            return [float(t / n) if n else None for t, n in zip(total, known.sum(0), strict=True)]

        def mean(values: Sequence[float]) -> float | None:
            kept = [value for value in values if np.isfinite(value)]
            return float(np.mean(kept)) if kept else None

        rows: dict[str, Any] = {}
        for name in ["live", *map(str, self.budgets), ANOTHER]:
            row: dict[str, Any] = {
                "asked_for": mean([v for look in self.looks[name] for v in look.asked]),
                "fidelity_db": mean([v for look in self.looks[name] for v in look.fidelity]),
            }
            if name != "live":
                found = self.likeness[name]
                row["psnr_db"] = mean([v for one in found for v in one.psnr])
                row["colours"] = mean([v for one in found for v in one.colours])
                row["away"] = mean([v for one in found for v in one.away])
                row["same_words"] = mean([v for one in found for v in one.words])
            rows[name] = row
        curves = {
            name: {kind: over_time(kind, found) for kind in ("psnr", "colours", "away")}
            for name, found in self.likeness.items()
        }
        return {
            "model": self.bundle.name,
            "takes": len(next(iter(self.likeness.values()))),
            "frames": len(next(iter(self.sample.values()))),
            "fps": float(self.bundle.fps),
            "guidance": self.bundle.guidance,
            "exact_at_live_steps": self.exact,
            "by_steps": rows,
            "curves": curves,
        }
