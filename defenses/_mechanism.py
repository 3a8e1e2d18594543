"""What a guarantee is computed from: sums with Gaussian noise, and how often one unit of data is in them."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GaussianMechanism:
    """`steps` sums with Gaussian noise, in each of which a unit takes part by its own draw, with probability `rate`.

    `noise_multiplier` > 0 is the noise's standard deviation over the most that adding or removing one unit moves a sum.
    """

    noise_multiplier: float
    steps: int = 1
    rate: float = 1.0

    def replacing(self) -> "GaussianMechanism":
        """The same, seen by neighbors that replace one unit: that moves a sum by up to twice as much."""
        return GaussianMechanism(self.noise_multiplier / 2, self.steps, self.rate)

    def unsampled(self) -> "GaussianMechanism":
        """The same at rate 1, which tells at least as much."""
        return GaussianMechanism(self.noise_multiplier, self.steps)

    def over(self, rounds: int) -> "GaussianMechanism":
        """The same unit in `rounds` rounds, whatever each of them made of the ones before."""
        return GaussianMechanism(self.noise_multiplier, self.steps * rounds, self.rate)

    def at_once(self) -> "GaussianMechanism":
        """The single sum at rate 1 that tells at least as much (Dong, Roth and Su, "Gaussian Differential Privacy", 2022).

        At rate 1 it tells exactly as much; below, it leaves out what sampling hides.
        """
        return GaussianMechanism(self.noise_multiplier / math.sqrt(self.steps))
