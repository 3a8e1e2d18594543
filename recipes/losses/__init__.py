"""What clients minimize: one file, one loss."""

from ._base import Loss, one_hot

__all__ = ["Loss", "one_hot"]
