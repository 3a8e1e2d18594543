"""Deep Learning with Differential Privacy (Abadi et al., CCS 2016), arXiv:1607.00133, algorithm 1, by Opacus.

Each example's gradient is clipped, and Gaussian noise is added to their sum, at each local step.

Departs from the paper: by default the batch is not sampled. The auditor's server knows who takes part in the round
that it observes, so only draws that the client makes itself, within its own batch, can amplify anything. The sum is
divided by the rate times the public batch size, a number that does not look at the data and is not rounded down, as
Opacus' own loop does (issues 571 and 819).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn
from torch.func import vmap

from seethrough.common.entry import entry
from seethrough.recipes import Recipe
from seethrough.recipes.replay import Slopes

from ._base import Batch, Defense, GradFn, Guarantee, MeanGradient, Params
from ._mechanism import GaussianMechanism
from .clipping import Clipping
from .guarantees.accounting import Accountant
from .guarantees.statement import gaussian_guarantee
from .parts.per_sample import Clipped, clipped_noised_mean, per_sample_gradients

IN_ITS_PLACE = "add or remove one example in its place, with the public batch size as fixed normalizer"


@entry
class DPSGD(Defense):
    """Clip each example's gradient to `max_grad_norm`, add noise to the sum, divide by the expected batch size.

    The noise is N(0, (noise_multiplier * max_grad_norm)^2) on each coordinate of the sum, at each local step. `per_layer`
    clipping holds each of the L parameter tensors to max_grad_norm / sqrt(L). Under `poisson` sampling each example of
    a step's slice takes part by its own draw with probability `sample_rate`; under `fixed` sampling all of them do, and
    no `sample_rate` amplifies anything. The claim is about the update alone: BatchNorm statistics of the batch, where
    a threat model has them sent, are outside it.
    """

    noise_multiplier: float = Field(ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(gt=0, allow_inf_nan=False)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    accountant: Accountant = "rdp"
    clipping: Clipped = "flat"
    sampling: Literal["fixed", "poisson"] = "fixed"
    sample_rate: float = Field(default=1.0, gt=0, le=1)

    def train(self, grad: MeanGradient) -> GradFn:
        """The noised mean of clipped per-sample gradients of the clients' loss.

        Of `grad` only the loss is used: it has already summed over the examples, and clipping has to come before the sum.
        """
        rate = self._rate()

        def private_gradient(model: nn.Module, batch: Batch, rng: Generator) -> Params:
            samples = per_sample_gradients(model, batch, grad.loss)
            drawn = torch.ones(len(batch)).bool() if rate == 1 else torch.rand(len(batch), generator=rng) < rate
            return clipped_noised_mean(
                samples, drawn, rate * len(batch), self.noise_multiplier, self.max_grad_norm, self.clipping, rng
            )

        return private_gradient

    def expected_gradient(self, slopes: Slopes) -> Slopes:
        """The mean of each example's clipped gradient, which is what every sampling comes to on average."""
        clipping = Clipping(max_norm=self.max_grad_norm, per_layer=self.clipping == "per_layer")

        def private(weights: Params, inputs: Tensor, labels: Tensor) -> Params:
            def clipped(image: Tensor, label: Tensor) -> Params:
                alone = slopes(weights, image[None], label[None])
                return clipping.expected(alone, alone)

            return {name: part.mean(dim=0) for name, part in vmap(clipped)(inputs, labels).items()}

        return private

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """(noise_multiplier * max_grad_norm / expected batch size)^2 for each batch, times the square of the weight that its
        gradient has in the update; known with recipe and count, and where the update is a weighted sum of gradients."""
        weights = None if recipe is None or count is None else recipe.weights_of_slopes(count)
        if (
            recipe is None
            or count is None
            or weights is None
            or recipe.proximal  # which pulls back what noise has moved
            or recipe.clip_norm is not None
            or not self.noise_multiplier
        ):
            return {}
        variance = 0.0
        for weight, batches in zip(weights, recipe.order(count), strict=True):
            for part in batches:
                size = self._rate() * len(part)
                variance += (weight / len(batches) * self.noise_multiplier * self.max_grad_norm / size) ** 2
        return {name: part.new_tensor(variance) for name, part in observed.items()}

    def guarantee(self, recipe: Recipe, count: int) -> Guarantee | None:
        """The guarantee of one round for an example of a known participant; None without noise.

        Batches of an epoch are disjoint, so what composes is the batches that take one and the same example. That needs
        neighbors in which every other example keeps its place: a removed example leaves a gap that counts as zero.
        """
        if self.noise_multiplier == 0:
            return None
        times = recipe.most_often(count)
        return gaussian_guarantee(
            mechanism=GaussianMechanism(self.noise_multiplier, times, self._rate()),
            delta=self.delta,
            accountant=self.accountant,
            unit="example",
            adjacency=IN_ITS_PLACE,
            sampling=self._sampling(times, sum(len(step) for step in recipe.order(count))),
            noise=(
                "each client adds its own, to every step's sum of clipped gradients, before anything is sent; so the "
                "claim holds against the server"
            ),
        )

    def why_unclaimed(self) -> str:
        return "gradients are clipped, but without noise (noise_multiplier = 0) their sum is exact"

    def _rate(self) -> float:
        return self.sample_rate if self.sampling == "poisson" else 1.0

    def _sampling(self, times: int, steps: int) -> str:
        if self._rate() == 1:
            known = "the participant is known, and no amplification by sampling is counted"
            return f"none: the example takes part in {times} of {steps} steps, at rate 1; {known}"
        return (
            f"Poisson: in {times} of {steps} steps the example takes part by its own draw, at rate {self.sample_rate:g}; "
            "the client draws, and the server sees neither the draws nor the batch's size"
        )
