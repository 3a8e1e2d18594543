"""Where a classifier's weights come from: one file, one source."""

from ._base import Source, Weights

__all__ = ["Source", "Weights"]
