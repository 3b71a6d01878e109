"""The governor: how many steps may the picture have, who runs next, who may come in. Pure; the clock is injected."""

from stream.governor.admission import Admission, admits
from stream.governor.costs import CostModel
from stream.governor.dial import Dial
from stream.governor.edf import pick
from stream.governor.errors import GovernorError
from stream.governor.governor import ChunkPlan, ChunkReport, Governor
from stream.governor.share import loads
from stream.governor.turn import Moment, Turn, decide

__all__ = [
    "Admission",
    "ChunkPlan",
    "ChunkReport",
    "CostModel",
    "Dial",
    "Governor",
    "GovernorError",
    "Moment",
    "Turn",
    "admits",
    "decide",
    "loads",
    "pick",
]
