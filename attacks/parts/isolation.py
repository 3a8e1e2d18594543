"""One client's update out of sums over changing clients (So et al., AAAI 2023, arXiv:2106.03328).

Model: client j's update in round t is mu + nu * t + x_j + rho * e_jt, with what all have in common, which may change, what is
the client's own, and what is the round's; the last two are independent, of one variance s^2 in every coordinate. The sums of
the rounds are Y = X (mu, nu)' + P x + noise, with P the participation [rounds, clients], n its row sums and X = (n, n t), of
covariance s^2 K, K = P P' + rho^2 diag(n). The best linear estimate of client i's update without what is the round's is made
of the generalized least squares of mu and nu and of p_i' K^-1 times what they leave, p_i the rounds that it is in. If the
client's own part is as large as the others', it explains the share p_i' K^-1 p_i - d' (X' K^-1 X)^-1 d of that, where d =
(1, 0)' - X' K^-1 p_i is what is known of it through mu and nu alone, at time 0, the last round. Without drift that is least
squares over the rounds; with much, it is next to nothing.

Departs from the paper, which takes updates to be the same in every round: rho is what makes the observed sums likeliest, by
restricted maximum likelihood (Patterson and Thompson 1971), of which the sums' inner products are all that is needed.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seethrough.defenses import Defense, Params
from seethrough.recipes import Recipe
from seethrough.recipes.replay import Slopes

from .._base import Sum, View
from .batchnorm import are_running

DRIFTS = torch.logspace(-3, 2, 51, dtype=torch.float64)  # rho, that are tried
FEWEST = 4  # sums: two go into what all have in common
ENOUGH = 0.8  # share of a client's own part that must be explained; with less, more is learned from the sum itself
ROUNDING = 1e-12  # of the sums' square length that rounding may leave


@dataclass(frozen=True, eq=False)
class Isolation:
    """What sums tell of the client under attack."""

    weights: Tensor  # float64 [rounds], of the mean steps of which its update is made
    told: float  # share of its own part that is explained, in [0, 1], if that is as large as the others'
    rho: float  # how far updates were found to drift


def isolated(view: View) -> tuple[View, str]:
    """The view of who has computed the client's update from the sums of all rounds, and what that is made of; as it was, and
    nothing, where the sums do not tell enough, where they were of other examples, or where there are fewer than four."""
    if not view.sums or len(view.sums) < FEWEST:
        return view, ""
    if view.sums[-1].fresh:
        return (
            view,
            "clients train on other examples in each round, so that the sum of the last one is attacked by itself",
        )
    found, rounds = isolation(view.sums), len(view.sums)
    if found.told < ENOUGH:
        return view, f"{rounds} sums of changing clients tell less than {ENOUGH:.0%} of a client's own part"
    sizes = [len(each.members) for each in view.sums]
    heard = sum(float(weight) ** 2 / size for weight, size in zip(found.weights, sizes, strict=True))
    alone = dataclasses.replace(
        view,
        update={name: _combined(name, view.sums, found.weights) for name in view.update},
        count=None if view.count is None else view.count // sizes[-1],
        labels=view.sums[-1].labels,
        buffers=view.buffers if are_running(view) else None,  # of the last sum, not of the client
        defense=None if view.defense is None else Combined(view.defense, heard),
        participants=None if view.participants is None else 1,
        past=None,
        sums=None,
    )
    return alone, f"the client's mean update was computed from the sums of {rounds} rounds"


@dataclass(frozen=True)
class Combined(Defense):
    """A defense as a combination of rounds shows it: with noise of `heard` times the variance that one update has."""

    own: Defense
    heard: float

    def cohort(self) -> int:
        return self.own.cohort()

    def expected(self, step: Params, observed: Params) -> Params:
        return self.own.expected(step, observed)

    def expected_gradient(self, slopes: Slopes) -> Slopes:
        return self.own.expected_gradient(slopes)

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        return {name: self.heard * variance for name, variance in self.own.noise(observed, recipe, count).items()}


def isolation(sums: tuple[Sum, ...]) -> Isolation:
    """How to combine the mean steps of at least four rounds, by the drift that makes them likeliest."""
    numbers = sorted({member for each in sums for member in each.members})
    taken = torch.tensor([[float(number in each.members) for number in numbers] for each in sums], dtype=torch.float64)
    sizes, coordinates = taken.sum(dim=1), sum(part.numel() for part in sums[0].update.values())
    inner = sizes[:, None] * _inner(sums) * sizes  # of sums, not of means
    time = torch.linspace(-1, 0, len(sums), dtype=torch.float64)
    common = torch.stack([sizes, sizes * time], dim=1)
    both = taken @ taken.T
    likely = [_likelihood(both + rho**2 * sizes.diag(), common, inner, coordinates) for rho in DRIFTS]
    rho = float(DRIFTS[int(torch.tensor(likely).argmax())])
    inverse = torch.linalg.inv(both + rho**2 * sizes.diag())
    client = taken[:, numbers.index(0)]
    own = inverse @ client
    now = torch.tensor([1.0, 0.0], dtype=torch.float64)  # what is common, in the last round
    apart = now - common.T @ own
    fitted = torch.linalg.solve(common.T @ inverse @ common, apart)
    told = client @ own - apart @ fitted
    return Isolation((own + inverse @ common @ fitted) * sizes, float(told.clamp(0, 1)), rho)


def _likelihood(covariance: Tensor, common: Tensor, inner: Tensor, coordinates: int) -> float:
    """The restricted log-likelihood of all coordinates, s^2 at its best, up to a constant."""
    inverse = torch.linalg.inv(covariance)
    precision = common.T @ inverse @ common
    explained = inverse @ common
    fitted = torch.linalg.solve(precision, explained.T @ inner @ explained)
    left = float((inverse * inner).sum()) - float(fitted.trace())
    left = max(left, ROUNDING * float(inner.diagonal().sum()), 1e-300)
    degrees = len(common) - common.shape[1]
    return (
        -coordinates / 2 * (degrees * math.log(left) + float(torch.logdet(covariance)) + float(torch.logdet(precision)))
    )


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
