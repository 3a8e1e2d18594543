"""How probable each number of examples of each class is, given what a round tells of them.

With M_j and K_j the mean and the covariance of the softmax of class j's examples, the counts n of a batch of B fulfill

    -B dL/db = sum_j n_j (e_j - M_j) + error,    error ~ N(0, sum_j n_j K_j + noise)

and a prior (see `prior.py`). Both are taken for normal distributions of the same mean and covariance, so that
the posterior is one too; that counts are whole numbers tells the gradient's length.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .evidence import Evidence, Familiar
from .prior import Prior, priors

CONFIDENCES = (0.3, 0.5, 0.7, 0.85, 0.95)  # softmax of the own class, where no public image tells it
LENGTHS = torch.linspace(-1.5, 1.5, 121, dtype=torch.float64)  # logarithms, about the likeliest
FINER = torch.linspace(-0.025, 0.025, 21, dtype=torch.float64)  # the same, about the best of these
MISFITS = torch.tensor([1e-3, 0.03, 0.1, 0.3, 1.0, 3.0], dtype=torch.float64)  # examples, beside the known errors
INDEPENDENT, CLUSTERED = (
    1e9,
    2.0,
)  # concentration of the Dirichlet distribution that a batch's proportions are drawn from
TINY = 1e-100
LEAST_VARIANCE = 1e-6  # of a count


@dataclass(frozen=True, eq=False)
class Softmax:
    """What the softmax of an example is supposed to be, by its class."""

    means: Tensor  # [classes, classes], of class j in row j
    spread: Tensor  # [classes, classes]: the covariance that one example of any class adds, on average


@dataclass(frozen=True, eq=False)
class Fit:
    """The supposition under which what was seen is likeliest."""

    matrix: Tensor  # [classes, classes]: what one more example of each class adds to `sides`
    sides: Tensor  # [classes]: -B dL/db at its likeliest length, less what the certain examples add
    errors: Tensor  # [classes, classes]: their covariance
    score: float  # what the length adds to the logarithm of the likelihood


def tails(evidence: Evidence) -> Tensor:
    """P(n_j >= t) for t = 1 to B [classes, B], float64, by all priors, each as much as what was seen is likely under it."""
    least, counts = evidence.least.double(), torch.arange(1, evidence.count + 1, dtype=torch.float64)
    if int(least.sum()) == evidence.count:
        return (least[:, None] >= counts).double()
    odds, above = [], []
    for prior, before in priors(evidence):
        fit = _fit(evidence, before)
        likelihood, mean, deviation = _posterior(fit, prior)
        odds.append(likelihood + fit.score + prior.log_odds)
        more = torch.special.ndtr(((least + mean)[:, None] - counts + 0.5) / deviation[:, None])
        above.append(more * (counts == 1) if prior.once else more)
    weights = torch.tensor(odds, dtype=torch.float64).softmax(dim=0)
    mixed = (weights[:, None, None] * torch.stack(above)).sum(dim=0)
    return torch.where(counts <= least[:, None], 1.0, mixed)


def _fit(evidence: Evidence, prior: Prior) -> Fit:
    """The softmax, length and misfit under which dL/db is likeliest, and no count negative, whatever is certain."""
    known = evidence.pulls.variance.isfinite()
    sides = -evidence.count * evidence.pulls.mean[known]
    noise = evidence.count**2 * evidence.pulls.variance[known]
    fits = []
    for softmax in _suppositions(evidence.familiar):
        matrix = (torch.eye(len(known), dtype=torch.float64) - softmax.means.T)[known]
        errors = evidence.count * softmax.spread[known][:, known]
        logs, supposed = _lengths(evidence, sides, matrix, errors, prior)
        score = torch.stack(_scores(sides, noise, matrix, errors, prior, logs))
        if len(logs) > 1:
            place = int((score.sum(dim=0).amax(dim=1) + supposed).argmax())
            finer = FINER if logs[place] or not evidence.length.perhaps_right else FINER[:1] * 0
            logs, supposed = logs[place] + finer, supposed[place] + torch.zeros_like(finer)
            score = torch.stack(_scores(sides, noise, matrix, errors, prior, logs))
        score[1] += supposed[:, None]
        place, which = divmod(int(score.sum(dim=0).argmax()), len(MISFITS))
        length = float(logs[place].exp())
        added = errors + (noise / length**2 + MISFITS[which] ** 2).diag()
        left = sides / length - matrix @ evidence.least.double()
        fit = Fit(matrix, left, added, float(score[1, place, which]))
        fits.append((float(score[:, place, which].sum()), fit))
    return max(fits, key=lambda pair: pair[0])[1]


def _lengths(evidence: Evidence, sides: Tensor, matrix: Tensor, errors: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """The logarithms of lengths that are tried, and of how probable each is."""
    length, right = evidence.length, torch.zeros(1, dtype=torch.float64)
    if length.deviation == 0:
        return right, right
    if math.isfinite(length.deviation):
        logs = length.mean + LENGTHS
        return logs, -0.5 * ((logs - length.mean) / length.deviation).square()
    expected = (matrix @ prior.covariance @ matrix.T + errors).trace() + (matrix @ prior.mean).square().sum()
    logs = LENGTHS + (sides.square().sum() / expected).clamp(min=TINY).log() / 2
    if not length.perhaps_right:
        return logs, torch.zeros_like(logs)
    return torch.cat([right, logs]), torch.cat([right, torch.full_like(logs, -math.log(len(logs)))])


def _scores(
    sides: Tensor, noise: Tensor, matrix: Tensor, errors: Tensor, prior: Prior, logs: Tensor
) -> tuple[Tensor, Tensor]:
    """For each length and misfit [lengths, misfits], the logarithm of the likelihood of `sides`, up to a constant, and what
    to add to it: for the change of length, and for counts being whole numbers from 0 on.

    Noise is taken for equal everywhere here, so that one eigendecomposition serves all.
    """
    values, basis = torch.linalg.eigh(matrix @ prior.covariance @ matrix.T + errors)
    lengths = logs.exp()[:, None, None]
    variance = values.clamp(min=0) + MISFITS.square()[:, None] + noise.mean() / lengths.square()
    apart = (sides / lengths - matrix @ prior.mean) @ basis
    likelihood = -0.5 * (apart.square() / variance + variance.log()).sum(dim=-1)
    gain = prior.covariance @ matrix.T @ basis
    mean = prior.mean + (apart / variance) @ gain.T
    spread = prior.covariance.diagonal() - (1 / variance) @ gain.square().T
    whole = _whole(mean, spread.clamp(min=LEAST_VARIANCE).sqrt()).sum(dim=-1)
    return likelihood, whole - len(sides) * logs[:, None]


def _whole(mean: Tensor, deviation: Tensor) -> Tensor:
    """The logarithm of how much more probable a normal variable is where only whole numbers from 0 on are.

    That is the sum of its density over them: where it is wide, the share of it above zero.
    """
    nearest = mean.round().clamp(min=0)[..., None] + torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    density = -0.5 * ((mean[..., None] - nearest) / deviation[..., None]).square()
    density = torch.where(nearest < 0, -torch.inf, density)
    narrow = torch.logsumexp(density, dim=-1) - (deviation * math.sqrt(2 * math.pi)).log()
    return torch.where(deviation < 0.5, narrow, torch.special.log_ndtr((mean + 0.5) / deviation))


def _posterior(fit: Fit, prior: Prior) -> tuple[float, Tensor, Tensor]:
    """The log likelihood of the prior, and mean and standard deviation [classes] of each class's examples after all."""
    total = fit.matrix @ prior.covariance @ fit.matrix.T + fit.errors
    lower, left = torch.linalg.cholesky(total), fit.sides - fit.matrix @ prior.mean
    standard = torch.linalg.solve_triangular(lower, left[:, None], upper=False)[:, 0]
    told = torch.linalg.solve_triangular(lower, fit.matrix @ prior.covariance, upper=False)
    likelihood = -0.5 * float(standard.square().sum()) - float(lower.diagonal().log().sum())
    variance = prior.covariance.diagonal() - told.square().sum(dim=0)
    return likelihood, prior.mean + told.T @ standard, variance.clamp(min=LEAST_VARIANCE).sqrt()


def _suppositions(familiar: Familiar) -> Iterator[Softmax]:
    """Of public images, the mean of each class and their spread about it; without them, several guesses."""
    classes = familiar.softmax.shape[1]
    overall = torch.cov(familiar.softmax.T)
    if familiar.labels is not None:
        members = [familiar.softmax[familiar.labels == label] for label in range(classes)]
        means = torch.stack([each.mean(dim=0) if len(each) else familiar.softmax.mean(dim=0) for each in members])
        apart = familiar.softmax - means[familiar.labels]
        yield Softmax(means, apart.T @ apart / len(apart))
        return
    even = torch.full((classes,), 1 / classes, dtype=torch.float64)
    yield Softmax(familiar.softmax.mean(dim=0).expand(classes, classes), overall)
    yield Softmax(even.expand(classes, classes), 0.01 * (even.diag() - torch.outer(even, even)))
    one, identity = torch.ones(classes, classes, dtype=torch.float64), torch.eye(classes, dtype=torch.float64)
    for sure in CONFIDENCES:
        means = (1 - sure) / (classes - 1) * (one - identity) + sure * identity
        yield Softmax(means, 0.5 * sure * (1 - sure) * (identity + even.diag() - one / classes) / classes * 2)
