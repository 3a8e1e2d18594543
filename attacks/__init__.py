"""What an attacker makes of what it sees: one file, one attack."""

from attacks._base import Attack, NotGrantedError, Prepared, Reconstruction, Seen, Space, View

__all__ = ["Attack", "NotGrantedError", "Prepared", "Reconstruction", "Seen", "Space", "View"]
