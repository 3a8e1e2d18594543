"""What the list of who took part in which round lets a server compute from sums alone: no update is needed, no attack."""

from .drift import Drift, told
from .groups import Groups, groups_of
from .schedule import Schedule, recorded
from .schemes import SCHEMES, Scheme
from .separable import Separation, separate

__all__ = [
    "SCHEMES",
    "Drift",
    "Groups",
    "Schedule",
    "Scheme",
    "Separation",
    "groups_of",
    "recorded",
    "separate",
    "told",
]
