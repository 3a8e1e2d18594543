"""Classifiers under audit: one file, one architecture."""

from audit.models._base import Model, bare

__all__ = ["Model", "bare"]
