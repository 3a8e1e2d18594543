"""Two runs side by side: what leaks more, what leaks less, and what cannot be compared, and why."""

from .compare import Comparison, Difference, compare
from .words import comparison_markdown, headline, lines

__all__ = ["Comparison", "Difference", "compare", "comparison_markdown", "headline", "lines"]
