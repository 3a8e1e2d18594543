"""How the learning rate changes within a client's training: one file, one schedule."""

from ._base import Schedule

__all__ = ["Schedule"]
