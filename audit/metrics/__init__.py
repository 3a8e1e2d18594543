"""Scores: one file, one metric."""

from audit.metrics._base import Metric, UnavailableError

__all__ = ["Metric", "UnavailableError"]
