"""What an attacker makes of what it sees: one file, one attack."""

from ._base import (
    Attack,
    IndexLists,
    NoGradientError,
    NotGrantedError,
    Prepared,
    Reconstruction,
    Seen,
    Space,
    Sum,
    View,
)

__all__ = [
    "Attack",
    "IndexLists",
    "NoGradientError",
    "NotGrantedError",
    "Prepared",
    "Reconstruction",
    "Seen",
    "Space",
    "Sum",
    "View",
]
