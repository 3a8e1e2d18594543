"""Where images come from: one file, one source."""

from audit.data._base import Data, Images
from audit.data._halves import tuning_half
from audit.data._partition import deal, spread
from audit.data._split import Copies, Split, split

__all__ = ["Copies", "Data", "Images", "Split", "deal", "split", "spread", "tuning_half"]
