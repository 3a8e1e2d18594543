"""Where images come from: one file, one source."""

from seethrough.audit.data._base import Data, Images
from seethrough.audit.data.parts.halves import tuning_half
from seethrough.audit.data.parts.partition import deal, spread
from seethrough.audit.data.parts.split import Copies, Split, split

__all__ = ["Copies", "Data", "Images", "Split", "deal", "split", "spread", "tuning_half"]
