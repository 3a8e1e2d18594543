"""Classifiers under audit: one file, one architecture."""

from ._base import Model, bare

__all__ = ["Model", "bare"]
