"""What sums tell of a client whose updates change from round to round.

Model: client j's update in round t is x_j + rho * e_jt, where x_j, what is the client's own, and e_jt, what is the round's,
are independent and of one variance, and the server's view adds noise of variance sigma^2 to the sum, in the same units. What
all clients have in common the server knows and has taken off. The best linear estimate of x_i from the sums of t rounds then
explains the share p_i' K^-1 p_i of x_i's variance, with p_i the rounds that the client is in and K = P P' + rho^2 diag(n) +
sigma^2 I, n the sizes of the rounds (the Gauss-Markov theorem; for normal values no other estimate is better). Without drift
and noise that is the leverage.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from .schedule import Schedule


@dataclass(frozen=True)
class Drift:
    """How far updates move, in units of what is a client's own."""

    rho: float  # standard deviation from round to round
    sigma: float = 0.0  # standard deviation of what is added to a sum


def told(schedule: Schedule, drift: Drift) -> np.ndarray:
    """The share of each client's own update that the sums explain after each round, float64 [rounds, clients] in [0, 1].

    Raises: ValueError, for updates without drift and noise: there the leverage is the answer.
    """
    if drift.rho == 0 and drift.sigma == 0:
        raise ValueError("found neither drift nor noise; allowed: one of them above 0")
    taken = schedule.taken
    sums = (taken @ taken.T).toarray()
    sums[np.diag_indices_from(sums)] += drift.rho**2 * schedule.sizes + drift.sigma**2
    triangle = cholesky(sums, lower=True)
    explained = solve_triangular(triangle, taken.toarray(), lower=True) ** 2
    return np.cumsum(explained, axis=0).clip(max=1.0)
