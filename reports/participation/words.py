"""A participation audit in sentences."""

from typing import Literal

from ..findings.text import counted
from .rows import Participation

Standing = Literal["exposed", "kept", "unknown"]


def standing(found: Participation) -> Standing:
    """Whether everybody hides among as many as were promised, or among two where nothing was."""
    promised = found.group or 2
    if any(each.found < promised for each in found.clients):
        return "exposed"
    return "kept" if all(each.least >= promised for each in found.clients) else "unknown"


def sentences(found: Participation) -> tuple[str, ...]:
    """The finding first, then what of it holds where updates change, and what was promised."""
    return tuple(filter(None, (_finding(found), _in_the_clear(found), _drifting(found), _promise(found))))


def _finding(found: Participation) -> str:
    rounds = counted(found.rounds, "round")
    if not found.alone:
        least, seen = (min(getattr(each, name) for each in found.clients) for name in ("least", "found"))
        return (
            f"No single client's update can be computed from the sums of {rounds}. The smallest group whose sum was found to "
            f"be computable has {counted(seen, 'client')}; that none of fewer than {least} is, is certain."
        )
    early = found.alone[0]
    many = f"those of {len(found.alone)} of {counted(len(found.clients), 'client')}"
    exact = ", up to the noise in them," if found.privacy or found.sigma else ""
    doubt = (
        "" if found.certain else " Some rounds are so nearly combinations of others that this is true to rounding only."
    )
    return (
        f"After {counted(early.after or 0, 'round')} (with round {early.round}) client {early.name}'s update can be computed "
        f"from the sums; after all {found.rounds}, {many}. That is exact{exact} where a client sends the same in each of its "
        f"rounds.{doubt}"
    )


def _in_the_clear(found: Participation) -> str:
    alone = [each.name for each in found.clients if each.smallest == 1]
    if not alone:
        return ""
    were = "client was" if len(alone) == 1 else "clients were"
    return f"{len(alone)} {were} alone in a round, whose sum is that client's update (the first: {alone[0]})."


def _drifting(found: Participation) -> str:
    best = max(found.clients, key=lambda each: each.drifting)
    noise = f" and noise of {found.sigma:g} of that in each sum" if found.sigma else ""
    return (
        f"Where updates change from round to round by {found.rho:g} of what is a client's own{noise}, all sums together "
        f"explain at most {best.drifting:.0%} of one client's own part (client {best.name}; its smallest round by itself "
        f"{best.one_round:.0%})."
    )


def _promise(found: Participation) -> str:
    if found.group is None:
        return ""
    said = {
        "kept": "everybody hides among at least as many",
        "exposed": "a smaller group's sum can be computed",
        "unknown": "no smaller group was found, but it is not certain that there is none",
    }
    return f"A group of {found.group} was promised: {said[standing(found)]}."
