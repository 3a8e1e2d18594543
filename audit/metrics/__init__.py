"""Scores: one file, one metric."""

from ._base import Metric, MetricNotApplicableError, UnavailableError

__all__ = ["Metric", "MetricNotApplicableError", "UnavailableError"]
