"""Where images come from: one file, one source."""

from audit.data._base import Data, Images, Split, split
from audit.data._partition import deal

__all__ = ["Data", "Images", "Split", "deal", "split"]
