"""Evaluation of a checkpoint at 1 to 32 steps against the toy world's ground truth."""

from models.evaluation.judge.analyser import ATTRIBUTES, NONE, Analysis, analyse

__all__ = ["ATTRIBUTES", "NONE", "Analysis", "analyse"]
