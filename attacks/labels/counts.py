"""How often each class was in the batch: the counts that put most labels right in expectation.

A class that is counted t times earns what it has up to t, so the labels right are expected to be the sum of P(n_j >= s) over
the counted s = 1 to t of every class, and the B largest of these probabilities make the best answer. Where nothing was seen
that is a guess in public proportions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seethrough.defenses import NotApplicableError

from .._base import View
from ..parts.rounds import rounds_of
from .evidence import evidence_of_labels, of_all_rounds
from .played import play
from .posterior import tails


@dataclass(frozen=True, eq=False)
class Counted:
    """How often each class occurs in the batch."""

    counts: Tensor  # int64 [classes], with the batch's size for a sum
    expected_wrong: float  # labels, by the attacker's own probabilities

    def labels(self) -> Tensor:
        """The classes, each as often as it was counted: int64 [count], sorted."""
        return torch.arange(len(self.counts), device=self.counts.device).repeat_interleave(self.counts)


def count_classes(view: View) -> Counted:
    """The best counts by what all rounds tell: of the classifier's gradient or, where that cannot be read or the recipe
    keeps no shares of it (an adaptive optimizer, another loss), of plays.

    Raises: NotGrantedError, without `count`.
    """
    view.need("count")
    try:
        evidence = of_all_rounds([evidence_of_labels(each) for each in rounds_of(view)])
    except NotApplicableError:
        evidence = None
    if evidence is not None and (view.recipe is None or view.recipe.tells_shares()):
        probable, least = tails(evidence), evidence.least
    else:
        played = play(view) if evidence is None else play(view).with_certain(evidence.least)
        probable, least = played.tails(view.count or 0), played.least
    counts = most_probable(probable, least)
    right = float(sum(probable[label, :number].sum() for label, number in enumerate(counts.tolist())))
    return Counted(counts.to(next(iter(view.update.values())).device), probable.shape[1] - right)


def most_probable(probable: Tensor, least: Tensor) -> Tensor:
    """The counts (int64 [classes]) of largest sum of `probable`, P(n_j >= t) [classes, total] for t from 1 on, that add up to
    the total; none below `least` (int64 [classes]), unless these alone exceed the total. Of equals, fewest of a class."""
    classes, total = probable.shape
    times = torch.arange(1, total + 1)
    value = torch.cummin(probable, dim=1).values - SMALL * times
    if int(least.sum()) <= total:
        value = torch.where(times <= least[:, None], value + 2, value)
    chosen = value.flatten().argsort(descending=True, stable=True)[:total]
    return torch.bincount(chosen // total, minlength=classes)


SMALL = 1e-9
