"""Inverting Gradients (Geiping, Bauermeister, Dröge, Moeller, NeurIPS 2020), arXiv:2003.14053.

Find the images x in [0, 1] that minimize, by Adam on the signs of the slopes (equation 4),

    1 - <step(x, y), observed> / (||step(x, y)|| ||observed||) + tv * TV(x)

The cosine ignores the length of the step, hence clipping and an unknown learning rate. Several local steps are replayed
where the recipe is granted; where it is withheld, one is supposed.

Departs from the paper: the step size decays by half a cosine, not by a tenth at 3/8, 5/8 and 7/8 of the steps; the start is
uniform over [0, 1], not N(0, 1) in pixels scaled by the data's mean and deviation; labels that are not granted are recovered
first, and stay so unless `joint_labels`; of the iterates and restarts the one of lowest objective is returned, not the last
iterate of the restart of lowest cosine distance; known noise weighs the tensors and sets a higher weight of total variation.
`lr` is that of the authors' code, `tv` what Guo et al. (arXiv:2503.11514) ran for CIFAR-10, in 24,000 steps, not 4,800.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.recipes import Recipe

from ._base import Reconstruction, View
from .engine.halving import halved
from .engine.no_gradient import Variables
from .engine.search import Found, descend
from .engine.side_by_side import at_once, side_by_side
from .labels.rules import known_or_recovered
from .labels.soft import free_labels, guessed, likeliest
from .parts.adaptive import evidence, smoothness, whitening
from .parts.distances import cosine
from .parts.guessed_recipe import with_likeliest_recipe
from .parts.image_priors import total_variation
from .parts.recurring import recurring
from .parts.rounds import need_update, observed
from .parts.shrinkage import Shrinking
from .parts.simulated_client import simulated_client

Loss: TypeAlias = Callable[..., Tensor]


@entry
class InvertingGradients(Shrinking):
    """Match the update's direction by smooth images; labels are granted, recovered first, or searched too."""

    steps: int = Field(default=4800, ge=1, le=100_000)
    lr: float = Field(default=0.1, gt=0, le=10)
    tv: float = Field(default=1e-2, ge=0)
    restarts: int = Field(default=1, ge=1, le=64)
    halvings: int = Field(
        default=0, ge=0, le=6
    )  # how often the worse half of the restarts is dropped; the others take its steps
    joint_labels: bool = (
        False  # whether labels that are not granted are searched with the pixels, from the recovered ones
    )
    guesses: tuple[
        Recipe, ...
    ] = ()  # at how clients train, where that is withheld: the one that explains most is taken
    client_holds: int = Field(
        default=0, ge=0, le=1000
    )  # examples that a client is supposed to go through again and again, to match its rounds together; 0: each by itself
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The restart of lowest objective; of rounds through which examples come back, what all of them show together."""
        guess = self.shorter(guesses=(), client_holds=0).reconstruct
        known = with_likeliest_recipe(self.known(view), self.guesses, guess, rng)
        alone = self._alone(known, rng)
        again = recurring(known, self.client_holds, alone, lambda each: self._alone(each, rng)) if known.fresh else None
        if again is None:
            return alone
        once = dataclasses.replace(self, restarts=1)
        (images,), lowest = once._descended(view, again.objective(self.tv), again.misfit, again.images[None]).best()
        joint = again.of_last(images)
        return alone if joint is None else Reconstruction(*joint, lowest)

    def _alone(self, view: View, rng: Generator) -> Reconstruction:
        need_update(view)
        labels = known_or_recovered(view)
        client, whitened = simulated_client(view), whitening(view)
        distance = cosine(whitened(observed(view)))
        tv = max(self.tv, smoothness(view, len(labels)) / evidence(view))

        def misfit(images: Tensor, *logits: Tensor) -> Tensor:
            return distance(whitened(client(images, guessed(labels, *logits))))

        def loss(images: Tensor, *logits: Tensor) -> Tensor:
            return misfit(images, *logits) + tv * total_variation(images)

        start = torch.rand((self.restarts, len(labels), *view.space.shape), generator=rng).to(labels.device)
        free = free_labels(view, labels, self.restarts, self.joint_labels)
        (images, *logits), lowest = self._descended(view, loss, misfit, start, *free).best()
        return Reconstruction(images, likeliest(labels, *logits), lowest)

    def _descended(self, view: View, loss: Loss, misfit: Loss, *start: Tensor) -> Found:
        """Where the search ends; `misfit` is the part of the loss that looks at updates."""

        def within_range(step: int, variables: Variables) -> Variables:
            return variables[0].clamp(0, 1), *variables[1:]

        course = halved(self.restarts, self.steps, self.halvings)
        return descend(
            start,
            side_by_side(loss),
            steps=course.steps,
            lr=self.lr,
            factor=course.cooling(),
            slope=torch.sign,
            after=within_range,
            at_once=at_once(self.restarts, view.update),
            misfit=side_by_side(misfit),
            survivors=course.survivors,
        )
