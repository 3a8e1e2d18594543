"""The epsilon of Gaussian mechanisms that every example takes part in, by Opacus' accountants."""

import math
import warnings
from typing import Literal

import numpy as np
from opacus.accountants import create_accountant

Accountant = Literal["rdp", "prv"]

# Renyi orders from just above 1, for little noise, up to 2^20, for much. Opacus' own end at 63; where the best order is
# higher, its bound stops falling with the noise.
ORDERS = tuple(1 + 2.0 ** (power / 8) for power in range(-96, 161))

# Opacus' PRV accountant works with exp(epsilon) and with sums of probabilities in float64. Past epsilon of about 700
# that overflows, and it claims far too little without a word; near a delta of 1e-15 it gives up.
PRV_LARGEST_EPSILON = 500.0
PRV_SMALLEST_DELTA = 1e-12


def gaussian_epsilon(noise_multiplier: float, delta: float, accountant: Accountant) -> float:
    """The epsilon at `delta` of one Gaussian mechanism whose noise has `noise_multiplier` > 0 times its sensitivity."""
    counted = create_accountant(accountant)
    counted.step(noise_multiplier=noise_multiplier, sample_rate=1.0)
    precision = max(_rough_epsilon(noise_multiplier, delta) / 200, 1e-4)
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # Neither touches the bound: PRV takes the logarithm of empty tails, and sizes its grid by a rough RDP.
        warnings.filterwarnings("ignore", message="Optimal order is the (largest|smallest) alpha", category=UserWarning)
        return max(0.0, float(counted.get_epsilon(delta, alphas=ORDERS, eps_error=precision)))


def composed(noise_multiplier: float, times: int) -> float:
    """The noise multiplier of the one Gaussian mechanism that tells as much as `times` (Dong, Roth and Su 2022)."""
    return noise_multiplier / math.sqrt(times)


def reliable_accountant(accountant: Accountant, noise_multiplier: float, delta: float) -> Accountant:
    """`accountant`, or "rdp" where "prv" is numerically unsound: at vacuous epsilons and the smallest deltas."""
    sound = delta >= PRV_SMALLEST_DELTA and _rough_epsilon(noise_multiplier, delta) <= PRV_LARGEST_EPSILON
    return accountant if sound else "rdp"


def _rough_epsilon(noise_multiplier: float, delta: float) -> float:
    """An upper bound in closed form, by zero-concentrated privacy (Bun and Steinke 2016, proposition 1.3)."""
    rho = 1 / (2 * noise_multiplier * noise_multiplier)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))
