"""Bounding Training Data Reconstruction in DP-SGD (Hayes, Mahloujifar and Balle, NeurIPS 2023), arXiv:2302.07225.

If a guess that looks at nothing recovers a target with probability at most kappa, then a reconstruction that looks at
a private release recovers it with probability at most gamma(kappa). For one sum with Gaussian noise of multiplier z,
gamma = Phi(Phi^-1(kappa) + 1/z); for any (epsilon, delta) curve, gamma = min over epsilon of e^epsilon kappa + delta.
Under Poisson sampling, gamma is the power of the most powerful test of level kappa between nu = N(0, z^2)^T and
mu = N(Bernoulli(q), z^2)^T, with the log-likelihood ratio sum of log(1 - q + q e^((2 x_t - 1) / 2 z^2)).

Departs from the paper: its estimator of that power is replaced by one whose result is an upper limit. The threshold
is an order statistic that lies below the true one, and the power a Clopper-Pearson limit over fresh draws. No central
limit theorem is used: that approximation falls below the true value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special

from .._mechanism import GaussianMechanism
from .accounting import LEAST_NOISE, sampled_epsilon

SAMPLES = 100_000
DOUBT = 0.005  # each of the two limits of the estimator may fail with this probability
CHUNK = 2_000_000  # draws held in memory at once
DELTAS = tuple(float(delta) for delta in np.logspace(-12, -0.01, 200))


@dataclass(frozen=True)
class Bound:
    """The highest probability with which a guarantee lets one target be recovered, and how that was computed."""

    value: float
    method: str


def reconstruction_bound(mechanism: GaussianMechanism, kappa: float) -> Bound:
    """The lowest of the bounds on recovering one target that a blind guess recovers with probability `kappa` in [0, 1]."""
    exact = Bound(gaussian_bound(kappa, mechanism.at_once().noise_multiplier), "exact Gaussian formula")
    if mechanism.rate == 1 or mechanism.noise_multiplier < LEAST_NOISE:
        return exact
    sampled = Bound(
        poisson_bound(kappa, mechanism), f"Monte-Carlo upper limit at {1 - 2 * DOUBT:.0%} of {SAMPLES:,} draws"
    )
    accounted = Bound(
        accountant_bound(kappa, lambda delta: sampled_epsilon(mechanism, delta)),
        "least e^epsilon * kappa + delta over Opacus' RDP accountant",
    )
    return min(exact, sampled, accounted, key=lambda bound: bound.value)


def gaussian_bound(kappa: float, noise_multiplier: float) -> float:
    """Phi(Phi^-1(kappa) + 1 / noise_multiplier): the exact value for one sum with Gaussian noise."""
    return float(special.ndtr(special.ndtri(kappa) + 1 / noise_multiplier))


def pure_bound(kappa: float, epsilon: float, delta: float) -> float:
    """e^epsilon * kappa + delta, at most 1: all that a single (epsilon, delta) allows to say."""
    return min(1.0, math.exp(min(epsilon, 700.0)) * kappa + delta)


def accountant_bound(kappa: float, epsilon: Callable[[float], float]) -> float:
    """The least of e^epsilon(delta) * kappa + delta over a grid of delta, for any accountant's curve."""
    return min(pure_bound(kappa, epsilon(delta), delta) for delta in DELTAS)


def poisson_bound(kappa: float, mechanism: GaussianMechanism, samples: int = SAMPLES, seed: int = 0) -> float:
    """An upper limit of gamma(kappa) that holds with probability 1 - 2 * DOUBT over its own draws."""
    from scipy.stats import binom  # slow to import, and wanted only here

    if not 0 < kappa < 1:
        return float(kappa >= 1)
    without, present = _draws(mechanism, samples, seed)
    place = int(binom.ppf(DOUBT, samples, 1 - kappa))
    if place == 0:
        return 1.0
    recovered = int((present >= without[place - 1]).sum())
    if recovered == samples:
        return 1.0
    return float(special.betaincinv(recovered + 1, samples - recovered, 1 - DOUBT))


@cache
def _draws(mechanism: GaussianMechanism, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The ratios of releases without the target, sorted, and of others with it."""
    rng = np.random.default_rng(seed)
    without = np.sort(_ratios(mechanism, samples, rng, takes_part=False))
    return without, _ratios(mechanism, samples, rng, takes_part=True)


def _ratios(mechanism: GaussianMechanism, samples: int, rng: np.random.Generator, takes_part: bool) -> np.ndarray:
    """Numbers in the order of the log-likelihood ratios of `samples` releases, of data with the target or without it.

    Below rate 1 that is the logarithm of sum of log(1 + q / (1 - q) e^...), the ratio less its least value: with little
    noise the ratios themselves would all be rounded to that value, and be tied.
    """
    steps, rate, noise = mechanism.steps, mechanism.rate, mechanism.noise_multiplier
    rows = max(1, CHUNK // steps)
    found = []
    for start in range(0, samples, rows):
        shape = (min(rows, samples - start), steps)
        sums = noise * rng.standard_normal(shape)
        if takes_part:
            sums += rng.random(shape) < rate
        each = (2 * sums - 1) / (2 * noise**2)
        found.append(
            each.sum(axis=1)
            if rate == 1
            else special.logsumexp(_log_softplus(each + np.log(rate / (1 - rate))), axis=1)
        )
    return np.concatenate(found)


def _log_softplus(exponents: np.ndarray) -> np.ndarray:
    """log(log(1 + e^x)), which is x where e^x is lost beside 1."""
    return np.where(exponents < -35, exponents, np.log(np.logaddexp(0, np.maximum(exponents, -35))))
