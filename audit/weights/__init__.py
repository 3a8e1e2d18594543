"""Where a classifier's weights come from: one file, one source."""

from seethrough.audit.weights._base import Source, Weights

__all__ = ["Source", "Weights"]
