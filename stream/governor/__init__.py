"""The governor: how many steps may the picture have, who runs next, who may come in. Pure; the clock is injected."""

from .costs import CostModel
from .dial import Dial, GovernorError
from .governor import ChunkPlan, ChunkReport, Governor
from .prompt_policy import EngineSnapshot, PromptPlan, plan_prompt
from .scheduling import Admission, admits, loads, pick

__all__ = [
    "Admission",
    "ChunkPlan",
    "ChunkReport",
    "CostModel",
    "Dial",
    "EngineSnapshot",
    "Governor",
    "GovernorError",
    "PromptPlan",
    "admits",
    "loads",
    "pick",
    "plan_prompt",
]
