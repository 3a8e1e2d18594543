"""What changes before the server sees it: one file, one defense."""

from ._base import (
    AbortedError,
    Aggregate,
    Batch,
    Defense,
    GradFn,
    Guarantee,
    MeanGradient,
    Message,
    NotApplicableError,
    Params,
    Update,
)
from .none import NoDefense
from .parts.chain import Chain

__all__ = [
    "AbortedError",
    "Aggregate",
    "Batch",
    "Chain",
    "Defense",
    "GradFn",
    "Guarantee",
    "MeanGradient",
    "Message",
    "NoDefense",
    "NotApplicableError",
    "Params",
    "Update",
]
