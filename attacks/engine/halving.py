"""Successive halving (Jamieson, Talwalkar, AISTATS 2016, arXiv:1502.07943): restarts that lose are dropped on the way, and
what they would have cost goes to the rest.

The budget is counted in evaluations, one for each step of each restart: that is what a search pays for. It is divided
evenly among rounds, after each of which but the last the better half goes on. A hot search tells little of where it will
end, so each round cools down before it is judged, and the next one is heated again, to `REHEATED` of the former rate (warm
restarts: Loshchilov, Hutter, ICLR 2017, arXiv:1608.03983).

Departs from the papers: a restart is judged by the lowest loss that it has met so far, which is what a search returns; the
later a round, the less hot it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from .search import cosine_schedule

REHEATED = 0.25


@dataclass(frozen=True)
class Round:
    """A part of a search in which all that live go on."""

    living: int  # restarts
    steps: int  # of each of them


@dataclass(frozen=True)
class Course:
    """How long a search runs, how hot, and how many of its restarts go on."""

    rounds: tuple[Round, ...]

    @property
    def steps(self) -> int:
        """Of the restarts that are never dropped."""
        return sum(each.steps for each in self.rounds)

    @property
    def survivors(self) -> dict[int, int]:
        """How many restarts go on, by the step before which the others are dropped."""
        return dict(zip(self._ends(), (each.living for each in self.rounds[1:]), strict=False))

    def cooling(self, warmup: int = 0) -> Callable[[int], float]:
        """The factor on the learning rate at a step: `cosine_schedule`, in each round anew."""
        schedules = [cosine_schedule(each.steps, warmup) for each in self.rounds]
        starts = [0, *self._ends()]

        def factor(step: int) -> float:
            number = max(place for place in range(len(self.rounds)) if starts[place] <= step)
            return REHEATED**number * schedules[number](step - starts[number])

        return factor

    def _ends(self) -> list[int]:
        return list(accumulate(each.steps for each in self.rounds))


def halved(restarts: int, steps: int, halvings: int) -> Course:
    """The course of `restarts` whose worse half, rounded down, is dropped `halvings` times, or until one is left.

    It takes restarts * steps evaluations, as without halving, less what does not make a whole step of the last ones.
    """
    halvings = min(halvings, steps - 1, (restarts - 1).bit_length())
    budget, living, spent, rounds = restarts * steps, restarts, 0, []
    for number in range(1, halvings + 2):
        rounds.append(Round(living, (budget * number // (halvings + 1) - spent) // living))
        spent += living * rounds[-1].steps
        living = (living + 1) // 2
    return Course(tuple(rounds))
