"""What a checkpoint can do at 1 to 32 steps, in numbers and pictures, measured against the toy world's truth."""

from models.evaluation.judge.analyser import ATTRIBUTES, NONE, Reading, analyse

__all__ = ["ATTRIBUTES", "NONE", "Reading", "analyse"]
