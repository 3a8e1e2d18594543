"""Deep Learning with Differential Privacy (Abadi et al., CCS 2016), arXiv:1607.00133, algorithm 1, by Opacus.

Each example's gradient is clipped, and Gaussian noise is added to their sum, at each local step.

Departs from the paper: the batch is not sampled. The auditor's server knows who takes part in the round that it
observes, so nothing is amplified by sampling, and the epsilon is that of plain Gaussian mechanisms.
"""

import math
from collections import Counter

from pydantic import Field
from torch import Generator, nn

from defenses._accounting import Accountant, composed, gaussian_epsilon, reliable_accountant
from defenses._base import Batch, Defense, GradFn, Guarantee, Params, Recipe, entry
from defenses._per_sample import clipped_noised_mean, per_sample_gradients


@entry
class DPSGD(Defense):
    """Clip each example's gradient to `max_grad_norm`, add noise to the sum, divide by the public batch size.

    The noise is N(0, (noise_multiplier * max_grad_norm)^2) on each coordinate of the sum, at each local step. The claim
    is about the update alone: BatchNorm statistics of the batch, where a threat model has them sent, are outside it.
    """

    noise_multiplier: float = Field(ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(gt=0, allow_inf_nan=False)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    accountant: Accountant = "rdp"

    def train(self, grad: GradFn) -> GradFn:
        """The noised mean of clipped per-sample gradients of the cross-entropy.

        `grad` is not used: it has already summed over the examples, and clipping has to come before the sum.
        """

        def private_gradient(model: nn.Module, batch: Batch, rng: Generator) -> Params:
            samples = per_sample_gradients(model, batch)
            return clipped_noised_mean(samples, self.noise_multiplier, self.max_grad_norm, rng)

        return private_gradient

    def guarantee(self, recipe: Recipe, count: int) -> Guarantee | None:
        """The guarantee of one round for an example of a known participant; None without noise.

        Slices of the batch are disjoint, so what composes is the steps that take one and the same slice. That needs
        neighbors in which every other example keeps its place: a removed example leaves a gap that counts as zero.
        """
        if self.noise_multiplier == 0:
            return None
        times = max(Counter(part.start for part in recipe.slices(count)).values())
        noise = composed(self.noise_multiplier, times)
        swapped = noise / 2  # replacing an example moves the sum by up to twice the clipping norm
        used = reliable_accountant(self.accountant, swapped, self.delta)
        epsilon = gaussian_epsilon(noise, self.delta, used)
        return Guarantee(
            epsilon=epsilon,
            delta=self.delta,
            unit="example",
            adjacency="add or remove one example in its place, the public batch size as fixed normalizer",
            sampling=f"none: the example takes part in {times} of {recipe.steps} steps, at rate 1",
            accountant=f"Opacus, {used.upper()}",
            statement=_statement(epsilon, gaussian_epsilon(swapped, self.delta, used), self.delta, used, times),
        )


def _statement(epsilon: float, replaced: float, delta: float, used: Accountant, times: int) -> str:
    steps = "1 noised step" if times == 1 else f"{times} noised steps"
    return (
        f"For one example, the update of one observed round is ({_upward(epsilon)}, {delta:g})-differentially private "
        "if neighbors add or remove one example in its place, with the public batch size as fixed normalizer, and "
        f"({_upward(replaced)}, {delta:g})-differentially private if they replace one. "
        f"Accounted by Opacus ({used.upper()}) over {steps} at rate 1: the participant is known, and no amplification "
        "by sampling is counted. The claim is for idealized arithmetic; the noise is floating-point, from a generator "
        "that is not cryptographically secure."
    )


def _upward(epsilon: float) -> str:
    """`epsilon` to three decimals, never rounded in favor of the claim."""
    return f"{math.ceil(epsilon * 1000) / 1000:.3f}"
