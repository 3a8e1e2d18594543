"""One client's update out of sums over changing clients (So et al., AAAI 2023, arXiv:2106.03328).

Model: client j's update in round t is mu + x_j + rho * e_jt, with what all have in common, what is the client's own, and what
is the round's; the last two are independent, of one variance s^2 in every coordinate. The sums of t rounds are Y = n mu' + P X
+ noise, with P the participation [rounds, clients] and n its row sums, of covariance s^2 K, K = P P' + rho^2 diag(n). The best
linear estimate of what client i's updates share is mu + p_i' K^-1 (Y - n mu), p_i the rounds that it is in, and explains the
share p_i' K^-1 p_i of its own part. Without drift that is least squares over the rounds; with much, it is next to nothing.

Departs from the paper, which takes updates to be the same in every round: rho is what makes the observed sums likeliest, by
restricted maximum likelihood (Patterson and Thompson 1971), of which the sums' inner products are all that is needed.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .._base import Sum, View

DRIFTS = torch.logspace(-3, 2, 51, dtype=torch.float64)  # rho, that are tried
ENOUGH = 0.8  # share of a client's own part that must be explained; with less, more is learned from the sum itself
RARELY = 1e-12  # of the sums' square length that rounding may leave


@dataclass(frozen=True, eq=False)
class Isolation:
    """What sums tell of the client under attack."""

    weights: Tensor  # float64 [rounds], of the sums of which its update is made
    told: float  # share of its own part that is explained, in [0, 1]
    rho: float  # how far updates were found to drift


def isolated(view: View) -> tuple[View, str]:
    """The view of who has computed the client's update from the sums of all rounds, and what that is made of; as it was, and
    nothing, where the sums do not tell enough, or where there is no more than one."""
    if not view.sums or len(view.sums) < 2:
        return view, ""
    found = isolation(view.sums)
    if found.told < ENOUGH:
        return (
            view,
            f"{len(view.sums)} sums of changing clients tell {found.told:.0%} of the client's own part, too little",
        )
    behind = len(view.sums[-1].members)
    update = {name: _combined(name, view.sums, found.weights) for name in view.update}
    count = None if view.count is None else view.count // behind
    alone = dataclasses.replace(view, update=update, count=count, participants=view.participants and 1, sums=None)
    return (
        alone,
        f"the client's update, {found.told:.0%} of its own part, was computed from the sums of {len(view.sums)} rounds",
    )


def isolation(sums: tuple[Sum, ...]) -> Isolation:
    """How to combine the sums, by the drift that makes them likeliest."""
    numbers = sorted({member for each in sums for member in each.members})
    taken = torch.tensor([[float(number in each.members) for number in numbers] for each in sums], dtype=torch.float64)
    sizes, inner = taken.sum(dim=1), _inner(sums)
    coordinates = sum(part.numel() for part in sums[0].update.values())
    both = taken @ taken.T
    inner = sizes[:, None] * inner * sizes  # of sums, not of means
    likely = [_likelihood(both + rho**2 * sizes.diag(), sizes, inner, coordinates) for rho in DRIFTS]
    rho = float(DRIFTS[int(torch.tensor(likely).argmax())])
    inverse = torch.linalg.inv(both + rho**2 * sizes.diag())
    client = taken[:, numbers.index(0)]
    of_mean = inverse @ sizes / (sizes @ inverse @ sizes)  # mu is the sums' mean by these weights
    own = inverse @ client
    weights = (own + (1 - own @ sizes) * of_mean) * sizes
    return Isolation(weights, float((client @ own).clamp(0, 1)), rho)


def _likelihood(covariance: Tensor, sizes: Tensor, inner: Tensor, coordinates: int) -> float:
    """The restricted log-likelihood of all coordinates, s^2 at its best, up to a constant."""
    inverse = torch.linalg.inv(covariance)
    precision = float(sizes @ inverse @ sizes)
    explained = inverse @ sizes
    left = float((inverse * inner).sum()) - float(explained @ inner @ explained) / precision
    rounds = len(sizes) - 1
    left = max(left, RARELY * float(inner.diagonal().sum()), 1e-300)
    return -coordinates / 2 * (rounds * math.log(left) + float(torch.logdet(covariance)) + math.log(precision))


def _inner(sums: tuple[Sum, ...]) -> Tensor:
    """The inner products of the mean steps of all rounds, float64 [rounds, rounds]."""
    total = torch.zeros((len(sums), len(sums)), dtype=torch.float64)
    for name in sums[0].update:
        rows = torch.stack([each.update[name].flatten().double() for each in sums])
        total += (rows @ rows.T).cpu()
    return total


def _combined(name: str, sums: tuple[Sum, ...], weights: Tensor) -> Tensor:
    parts = [float(weight) * each.update[name].double() for weight, each in zip(weights, sums, strict=True)]
    return torch.stack(parts).sum(dim=0).to(sums[0].update[name])
