"""Where a classifier's weights come from: one file, one source."""

from audit.weights._base import Public, Weights

__all__ = ["Public", "Weights"]
