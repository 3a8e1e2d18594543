"""Successive halving (Jamieson, Talwalkar, AISTATS 2016, arXiv:1502.07943): restarts that lose are dropped on the way, and
what they would have cost goes to the rest.

The budget is counted in evaluations, one for each step of each restart: that is what a search pays for. It is divided
evenly among rounds, after each of which but the last the better half goes on.

Departs from the paper: a restart is judged by the lowest loss that it has met so far, which is what a search returns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Course:
    """How long a search runs, and how many of its restarts go on."""

    steps: int  # of the restarts that are never dropped
    survivors: Mapping[int, int] = field(default_factory=dict)  # step before which some are dropped -> how many go on


def halved(restarts: int, steps: int, halvings: int) -> Course:
    """The course of `restarts` whose worse half, rounded down, is dropped `halvings` times, or until one is left.

    It takes restarts * steps evaluations, as without halving, less what does not make a whole step of the last ones.
    """
    halvings = min(halvings, steps - 1, (restarts - 1).bit_length())
    budget, living, taken, spent, survivors = restarts * steps, restarts, 0, 0, {}
    for number in range(halvings + 1):
        if number:
            living = (living + 1) // 2
            survivors[taken] = living
        run = (budget * (number + 1) // (halvings + 1) - spent) // living
        taken, spent = taken + run, spent + run * living
    return Course(taken, survivors)
