"""The epsilon of Gaussian mechanisms, by Opacus' accountants."""

import math
import warnings
from functools import cache
from typing import Literal

import numpy as np

from .._mechanism import GaussianMechanism

Accountant = Literal["rdp", "prv"]

# Renyi orders from just above 1, for little noise, up to 2^20, for much. Opacus' own end at 63; where the best order is
# higher, its bound stops falling with the noise. Sampled sums take long at orders near 1 and in the thousands, so theirs
# are fewer.
ORDERS = tuple(1 + 2.0 ** (power / 8) for power in range(-96, 161))
SAMPLED_ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(11, 64), 80, 96, 128, 192, 256, 384, 512)

# Opacus' PRV accountant works with exp(epsilon) and with sums of probabilities in float64. Past epsilon of about 700
# that overflows, and it claims far too little without a word; near a delta of 1e-15 it gives up.
PRV_LARGEST_EPSILON = 500.0
PRV_SMALLEST_DELTA = 1e-12

LEAST_NOISE = 1e-4
"""A noise multiplier below which nothing is computed: epsilon is above 10^7, and powers of e^epsilon leave float64."""


def gaussian_epsilon(mechanism: GaussianMechanism, delta: float, accountant: Accountant) -> float:
    """The epsilon at `delta` of `mechanism`, for neighbors that add or remove one unit; infinite for next to no noise."""
    if mechanism.noise_multiplier < LEAST_NOISE:
        return math.inf
    if mechanism.rate == 1:
        mechanism = mechanism.at_once()
    elif accountant == "rdp":  # sampling costs nothing, so what is claimed without it holds too, by more orders
        return min(sampled_epsilon(mechanism, delta), gaussian_epsilon(mechanism.unsampled(), delta, accountant))
    from opacus.accountants import create_accountant  # slow to import, and wanted only here

    counted = create_accountant(accountant)
    counted.history = [(mechanism.noise_multiplier, mechanism.rate, mechanism.steps)]
    precision = max(_rough_epsilon(mechanism, delta) / 200, 1e-4)
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # Neither touches the bound: PRV takes the logarithm of empty tails, and sizes its grid by a rough RDP.
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha", category=UserWarning)
        return max(0.0, float(counted.get_epsilon(delta, alphas=ORDERS, eps_error=precision)))


def reliable_accountant(accountant: Accountant, mechanism: GaussianMechanism, delta: float) -> Accountant:
    """`accountant`, or "rdp" where "prv" is numerically unsound: at vacuous epsilons and the smallest deltas."""
    if mechanism.noise_multiplier < LEAST_NOISE:
        return "rdp"
    sound = delta >= PRV_SMALLEST_DELTA and _rough_epsilon(mechanism, delta) <= PRV_LARGEST_EPSILON
    return accountant if sound else "rdp"


def sampled_epsilon(mechanism: GaussianMechanism, delta: float) -> float:
    """The epsilon at `delta` of sums with sampling and at least LEAST_NOISE, by Opacus' RDP; quick for many `delta`."""
    from opacus.accountants.analysis import rdp  # slow to import, and wanted only here

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha", category=UserWarning)
        spent = mechanism.steps * _divergences(mechanism.noise_multiplier, mechanism.rate)
        epsilon, _ = rdp.get_privacy_spent(orders=SAMPLED_ORDERS, rdp=spent, delta=delta)
    return max(0.0, float(epsilon))


@cache
def _divergences(noise_multiplier: float, rate: float) -> np.ndarray:
    """The Renyi divergences of one sampled sum, at each of SAMPLED_ORDERS."""
    from opacus.accountants.analysis import rdp  # slow to import, and wanted only here

    return np.asarray(rdp.compute_rdp(q=rate, noise_multiplier=noise_multiplier, steps=1, orders=SAMPLED_ORDERS))


def _rough_epsilon(mechanism: GaussianMechanism, delta: float) -> float:
    """An upper bound: in closed form by zero-concentrated privacy (Bun and Steinke 2016, proposition 1.3), or by RDP."""
    if mechanism.rate < 1:
        return sampled_epsilon(mechanism, delta)
    noise = mechanism.at_once().noise_multiplier
    rho = 1 / (2 * noise * noise)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))
