"""No defense: the update goes out as it was computed."""

from ._base import Defense, entry


@entry
class NoDefense(Defense):
    """Send the update as it is."""
