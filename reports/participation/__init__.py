"""What a schedule of participation gives away, as a sentence, a table, a picture and a page."""

from .page import render_participation
from .rows import Alternative, Client, Participation
from .table import participation_csv
from .words import sentences, standing

__all__ = [
    "Alternative",
    "Client",
    "Participation",
    "participation_csv",
    "render_participation",
    "sentences",
    "standing",
]
