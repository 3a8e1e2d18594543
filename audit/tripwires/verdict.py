"""What is said of all checks together, and of the one that is made across clients."""

from collections.abc import Sequence

from .material import Sent
from .wire import Wire

SAME = "same model for all"


def same_model(sent: Sent | None) -> Wire:
    """Whether the clients of a round were sent one model; `sent` None where no round has more than one client."""
    if sent is None:
        alone = "one client alone: compare the SHA-256 of its weights with that of other clients"
        return Wire(SAME, "count", None, 1, alone, applies=False)
    found = f"{sent.clients} clients of a round were sent {sent.models} different models"
    trap = f"{found}, so that the server can tell their updates apart, even in a sum"
    same = f"all {sent.clients} clients of a round were sent the same model"
    return Wire(SAME, "count", sent.models, 1, trap if sent.models > 1 else same)


def headline(wires: Sequence[Wire]) -> str:
    """One sentence on all checks."""
    tripped = list(dict.fromkeys(wire.name for wire in wires if wire.tripped))
    unchecked = list(dict.fromkeys(wire.name for wire in wires if wire.unchecked))
    left = f"; not checked: {', '.join(unchecked)}" if unchecked else ""
    if tripped:
        return f"Tripped: {', '.join(tripped)}{left}. Do not train on it before you know why."
    made = sum(wire.measured is not None for wire in wires)
    return f"No trap found by {made} checks{left}; this is no proof that there is none."
