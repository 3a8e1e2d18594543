"""The command line. Each command loads what it needs when it is called: torch alone takes seconds."""

from . import audits, participation, results, tripwires
from .shell import app, main

__all__ = ["app", "audits", "main", "participation", "results", "tripwires"]
