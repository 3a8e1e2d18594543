"""Where images come from: one file, one source."""

from audit.data._base import Data, Images, Split, split

__all__ = ["Data", "Images", "Split", "split"]
