"""Whether an attack found anything: two questions, each with an exact test over batches.

*Did the update say anything?* The reconstruction of a batch is also scored against other private batches that were
drawn as the attacked one was (`Score.swapped`). If the update told nothing, the true batch is one more of these, so
every choice of one batch for each trial is equally likely to have the highest mean score: a permutation test, exact for
any distribution, metric and number of batches (Fisher, 1935; Phipson and Smyth, 2010, for the drawn one).

*Does it help a guesser?* Every blind guesser is fixed beforehand. The attacker must do better than each of them in more
batches than a coin would give it, ties left out: a sign test, again without a supposition on how scores are
distributed. No fewer than six batches can show that.

A leak is a yes to both, each at 2.5 %. The first test is corrected for all combinations of a report (`family.py`):
where no update says anything, a report calls anything at all a leak with at most that probability. What an attacker would
get who recovers all that the server can read (`Score.perfect`) goes through the same two tests: where even that could not
be called a leak, failing to find one says nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from scipy import special

from ..row import Score
from .family import Family, Trial, Which, trials_of
from .intervals import finite, gain_of, mean_of, number_of
from .significance_tests import permutation_test, sign_test, swap_test

Item = TypeVar("Item")

ALPHA = 0.025  # of each of the two tests, one-sided
POWER = 0.8
MOST_BATCHES = 200  # up to which it is sought how many a perfect attack would need


@dataclass(frozen=True)
class Evidence:
    """What the two tests say of one metric of one attack through one defense."""

    told: float  # p value of the first question among all combinations of the report; 1 where no other batch was scored
    alone: float  # the same, of this combination by itself
    beaten: tuple[tuple[str, float], ...]  # for each blind guesser, p value of the second question
    powered: bool  # whether a perfect attack would have been called a leak with these batches
    needs: int | None  # batches with which a perfect attack would be; None: not even with 200
    detectable: float | None  # the gain over other batches that the first test finds in four of five such audits

    @property
    def tells(self) -> bool:
        """Whether the update said something."""
        return self.told <= ALPHA

    @property
    def helps(self) -> bool:
        """Whether the attacker beats every guesser."""
        return bool(self.beaten) and all(p <= ALPHA for _, p in self.beaten)


def evidence_of(scores: Sequence[Score], family: Family | None = None, trials: Sequence[Which] = ()) -> Evidence | None:
    """The evidence of those trials that have a finite score, None without any; by itself, or as one of a `family` of
    combinations. `trials` says which one each score is of; without them they are the first ones."""
    named = trials or [Which("", place, len(one.swapped), one.permuted) for place, one in enumerate(scores)]
    known = [(which, one) for which, one in zip(named, scores, strict=True) if finite(one.value)]
    if not known:
        return None
    usable, rows = [one for _, one in known], trials_of(known)
    alone = _told_alone(rows)
    needs = _batches_needed(known, ALPHA if family is None else family.rank_needed(ALPHA))
    return Evidence(
        told=max(alone, family.chance_of(rows)) if family is not None and rows else alone,
        alone=alone,
        beaten=tuple((name, _sign_test_over(usable, name)) for name in guessers_of(usable)),
        powered=needs is not None and needs <= len(usable),
        needs=needs,
        detectable=_detectable(usable),
    )


def guessers_of(scores: Sequence[Score]) -> tuple[str, ...]:
    """The names of the blind guessers of all trials."""
    return tuple(dict.fromkeys(guess.name for score in scores for guess in score.guesses))


def guesses_by(scores: Sequence[Score], name: str) -> list[float | None]:
    """What the guesser of that name gets in each trial; None where it did not guess."""
    return [_guess_by(score, name) for score in scores]


def _guess_by(score: Score, name: str) -> float | None:
    for guess in score.guesses:
        if guess.name == name and finite(guess.value):
            return guess.value
    return None


def chance_of(score: Score) -> float | None:
    """What the reconstruction gets on average, held against other private batches; None where there are none."""
    known = [value for value in score.swapped if math.isfinite(value)]
    return mean_of(known) if known else None


def in_words(evidence: Evidence) -> str:
    """Both tests with their p values, and what they could have found."""
    name, hardest = max(evidence.beaten, key=lambda pair: pair[1], default=("", 1.0))
    said = [f"against other batches {_p(evidence.told)}"]
    said += [f"against {name} {_p(hardest)}"] if name else []
    if evidence.needs is None:
        said.append(f"not even a perfect attack could be called a leak, with {MOST_BATCHES} batches or fewer")
    elif not evidence.powered:
        said.append(f"needs {evidence.needs} batches")
    return "; ".join(said)


def _p(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {math.ceil(value * 1e4) / 1e4:.4f}"


def _sign_test_over(scores: Sequence[Score], name: str) -> float:
    pairs = zip(scores, guesses_by(scores, name), strict=True)
    return sign_test([gain_of(score, number_of(score.value), guess) for score, guess in pairs if guess is not None])


def _told_alone(rows: Sequence[Trial]) -> float:
    """The p value of the first question by these trials alone; 1 without any."""
    if rows and rows[0][0].permuted:
        return permutation_test({which.number: gains for which, gains in rows}, rows[0][0].others + 1)
    return swap_test([(float(gains[0]), gains[1:].tolist()) for _, gains in rows])


def _batches_needed(known: Sequence[tuple[Which, Score]], alpha: float) -> int | None:
    """How many batches like these a perfect attack needs to be called a leak: the trials at hand, over and over. Its first
    p value must be at most `alpha`, the second one at most `ALPHA`."""
    perfect = [score for _, score in known if finite(score.perfect)]
    if not perfect:
        return None
    signs = tuple(
        tuple(
            gain_of(score, number_of(score.perfect), guess)
            for score, guess in zip(perfect, guesses, strict=True)
            if guess is not None
        )
        for guesses in (guesses_by(perfect, name) for name in guessers_of(perfect))
    )
    rows = trials_of(known, perfect=True)
    if known[0][0].permuted:
        return _of_permuted(signs, rows, len(perfect), alpha)
    return _least_sufficient(signs, tuple((float(gains[0]), tuple(gains[1:].tolist())) for _, gains in rows), alpha)


def _of_permuted(signs: tuple[tuple[float, ...], ...], rows: Sequence[Trial], batches: int, alpha: float) -> int | None:
    """The same where trials lend each other their truths: enough that both tests can say yes, and where there are so many,
    that the first one does."""
    orders = next(number for number in range(1, MOST_BATCHES) if 1 / math.factorial(number) <= alpha)
    helps = _least_sufficient(signs, (), 1.0)
    if helps is None:
        return None
    needs = max(orders, helps)
    return needs if batches < needs or _told_alone(rows) <= alpha else None


@cache
def _least_sufficient(
    signs: tuple[tuple[float, ...], ...], told: tuple[tuple[float, tuple[float, ...]], ...], alpha: float
) -> int | None:
    """The fewest of such batches with which both tests say yes; every cell of a trial asks the same."""
    batches = 1
    while batches <= MOST_BATCHES:
        helps = all(sign_test(_repeated(gains, batches)) <= ALPHA for gains in signs)
        if helps and swap_test(_repeated(told, batches)) <= alpha:
            return batches
        batches += 1 + helps * batches // 4  # the permutation test takes long: larger steps where only it says no
    return None


def _repeated(items: Sequence[Item], count: int) -> list[Item]:
    return [items[place % len(items)] for place in range(count)] if items else []


def _detectable(scores: Sequence[Score]) -> float | None:
    """(z_0.975 + z_0.8) standard errors of the mean score against other batches; None where it cannot be known."""
    known = [[value for value in score.swapped if math.isfinite(value)] for score in scores]
    variances: list[float] = []
    for length in {len(values) for values in known} - {0, 1}:  # at once, since numpy takes long to begin
        block = np.asarray([values for values in known if len(values) == length])
        with np.errstate(over="ignore", invalid="ignore"):
            variances += np.var(block, axis=1, ddof=1).tolist()
    if not variances or not all(map(math.isfinite, variances)):
        return None
    reach = float(special.ndtri(1 - ALPHA) + special.ndtri(POWER))
    return reach * math.sqrt(math.fsum(variances)) / len(variances)
