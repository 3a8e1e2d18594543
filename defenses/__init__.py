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
from .parts.chain import Chain, parts_of
from .parts.mixture import Mixture

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
    "Mixture",
    "NoDefense",
    "NotApplicableError",
    "Params",
    "Update",
    "parts_of",
]
