"""Where images come from: one file, one source."""

from ._base import Data, Images
from .parts.halves import tuning_half
from .parts.partition import deal, spread
from .parts.split import Copies, Split, split

__all__ = ["Copies", "Data", "Images", "Split", "deal", "split", "spread", "tuning_half"]
