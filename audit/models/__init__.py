"""Classifiers under audit: one file, one architecture."""

from seethrough.audit.models._base import Model, bare

__all__ = ["Model", "bare"]
