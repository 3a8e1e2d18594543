"""Scores: one file, one metric."""

from seethrough.audit.metrics._base import Metric, MetricNotApplicableError, UnavailableError

__all__ = ["Metric", "MetricNotApplicableError", "UnavailableError"]
