"""Updates that somebody else's client sent: written down, read again, and doubted before anything attacks them."""

from .format import Facts
from .read import Recording, recordings_in
from .write import record

__all__ = ["Facts", "Recording", "record", "recordings_in"]
