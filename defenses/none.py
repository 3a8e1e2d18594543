"""No defense: the update goes out as it was computed."""

from seethrough.common.entry import entry

from ._base import Defense


@entry
class NoDefense(Defense):
    """Send the update as it is."""
