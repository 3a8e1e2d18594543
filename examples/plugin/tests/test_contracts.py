"""What seethrough asks of every entry, on those of this package."""

from seethrough.contracts import *  # noqa: F403
