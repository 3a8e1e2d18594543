"""What is supposed of a batch's labels before dL/db is seen.

Examples are drawn in public proportions; or in proportions of the client's own, about these; or, where that can be and with
even odds to both others together, each is of another class. Certain examples are taken as drawn already.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .evidence import Evidence

ODDS = {1e9: 0.9, 2.0: 0.1}  # by the concentration of the Dirichlet distribution of a client's own proportions
DIFFERENT = 2.0


@dataclass(frozen=True, eq=False)
class Prior:
    """The number of examples of each class that are not certain, as a normal distribution."""

    mean: Tensor  # float64 [classes]
    covariance: Tensor  # float64 [classes, classes]
    once: bool = False  # whether no class has more than one example
    log_odds: float = 0.0  # with how probable so many certain classes are under it


def priors(evidence: Evidence) -> list[tuple[Prior, Prior]]:
    """Each prior, and the one of all examples by which the gradient's length and the model's softmax are judged."""
    least, classes = evidence.least.double(), len(evidence.least)
    rest, nothing = int(evidence.count - least.sum()), torch.zeros_like(least)
    shares = proportions(evidence.familiar.labels, classes)
    found = []
    for concentration, weight in ODDS.items():
        odds = math.log(weight) + _of_certain(evidence, concentration)
        before = _drawn(evidence.count, nothing, shares, concentration, 0.0)
        visible = torch.where(least > 0, shares, evidence.hidden * shares)
        found.append((_drawn(rest, least, visible, concentration, odds), before))
    if evidence.count <= classes and int(evidence.least.max()) <= 1:
        odds = math.log(DIFFERENT) + _of_certain(evidence, None)
        found.append((_once(rest, torch.where(least > 0, 0.0, shares), odds), found[0][1]))
    return found


def proportions(labels: Tensor | None, classes: int) -> Tensor:
    """The classes' shares in public data, each with one example more than it has; equal shares, where there are none."""
    if labels is None:
        return torch.full((classes,), 1 / classes, dtype=torch.float64)
    return (torch.bincount(labels, minlength=classes) + 1).double() / (len(labels) + classes)


def _drawn(rest: int, least: Tensor, shares: Tensor, concentration: float, odds: float) -> Prior:
    """Polya's urn, after the certain examples have been drawn from it."""
    urn, total = concentration * shares + least, float(concentration + least.sum())
    shares = urn / urn.sum()
    wider = rest * (rest + total) / (1 + total)
    return Prior(rest * shares, wider * (shares.diag() - torch.outer(shares, shares)), log_odds=odds)


def _once(rest: int, shares: Tensor, odds: float) -> Prior:
    """One example at most of each class, and none of a class without share."""
    mean = (rest * shares / shares.sum()).clamp(max=0.999)
    single = mean * (1 - mean)
    return Prior(mean, single.diag() - torch.outer(single, single) / single.sum(), once=True, log_odds=odds)


def _of_certain(evidence: Evidence, concentration: float | None) -> float:
    """The logarithm of how probable it is that so many classes are certain; None for examples of different classes."""
    classes, seen = len(evidence.least), int((evidence.least > 0).sum())
    if evidence.hidden == 1:
        return 0.0
    number = torch.arange(evidence.count + 1, dtype=torch.float64)
    present = (number == 0).double()  # how probable each number of classes is after so many draws
    for drawn in range(evidence.count):
        new = torch.ones_like(number)
        if concentration is not None:
            new = (1 - number / classes).clamp(min=0) * (concentration / (concentration + drawn))
        present = present * (1 - new) + (present * new).roll(1)
    found = torch.distributions.Binomial(number.clamp(min=seen), torch.tensor(1 - evidence.hidden, dtype=torch.float64))
    logs = found.log_prob(torch.tensor(float(seen), dtype=torch.float64))
    return float(torch.logsumexp(torch.where(number < seen, -torch.inf, present.log() + logs), dim=0))
