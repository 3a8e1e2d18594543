"""What changes before the server sees it: one file, one defense."""

from defenses._base import (
    Aggregate,
    Batch,
    Defense,
    GradFn,
    Guarantee,
    Message,
    NotApplicableError,
    Params,
    Recipe,
    Slopes,
    Update,
)
from defenses._chain import Chain
from defenses.none import NoDefense

__all__ = [
    "Aggregate",
    "Batch",
    "Chain",
    "Defense",
    "GradFn",
    "Guarantee",
    "Message",
    "NoDefense",
    "NotApplicableError",
    "Params",
    "Recipe",
    "Slopes",
    "Update",
]
