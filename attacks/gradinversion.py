"""See through Gradients: Image Batch Recovery via GradInversion (Yin, Mallya, Vahdat, Alvarez, Kautz, Molchanov, CVPR 2021),
arXiv:2104.07586.

Search a batch of images, from several seeds at once, for the least (equations 2 to 11)

    gradient * distance(dL/dW(x), observed) + tv * TV(x) + l2 * |x| + batchnorm * R_BN(x) + group * |x - mean of the seeds|

with Langevin noise after each step; the seeds' mean is taken over images that were registered onto it. Registration is a
shift of whole pixels by cross-correlation (scikit-image), after assignment within equal labels; the paper's RANSAC-flow is
research code without a package.

Departs from the paper, always: pixels are 0.5 + 0.25 x, not scaled by the mean and deviation of ImageNet; seeds are laid
over each other as said above; of the seeds, the one of lowest objective is returned.

Departs from the paper, unless made by `published`: the defaults are for images of 28 to 64 pixels and hundreds of steps; the
distance is not layer-wise L2 but relative L1, each coordinate divided by the root of its spread over other batches, or the
cosine where noise is known, whose variance then sets the weight of total variation; seeds that lose are dropped half-way,
unless noise is known; Adam sees only the gradient's signs, at a rate so high that it jumps out of local minima until it has
cooled; there is no Langevin noise; labels are recovered with their multiplicities, not as a set, or searched too on request;
of a single image the slopes in the logits are read off the update, so that a model that is sure of it gives gradients of the
right length; images are kept within [0, 1]; priors are means over pixels and images, and the first BatchNorm layer counts ten
times, as in the code of DeepInversion; on request steps are as long as natural images vary, and colors keep near those of
public images (`falloff`, `color`); the best iterate is returned, by the objective alone. The BatchNorm term weighs little:
running statistics are those of a population, and they drew single images away from themselves.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.defenses import Params
from seethrough.recipes import Recipe

from ._base import Reconstruction, View
from .engine.halving import halved
from .engine.no_gradient import Variables
from .engine.search import descend
from .engine.side_by_side import at_once, side_by_side
from .labels.bias_slopes import output_error
from .labels.least_sure import among_others, least_sure
from .labels.rules import by_minimum, known_or_recovered, over_batches
from .labels.soft import free_labels, guessed, likeliest
from .parts.adaptive import evidence, smoothness, whitening
from .parts.batchnorm import Measure, batch_statistics, statistics_distance
from .parts.coordinate_spread import spreads
from .parts.distances import Distance, cosine, layerwise_l2, relative_l1, standardized_l1
from .parts.guessed_recipe import with_likeliest_recipe
from .parts.image_priors import l2_norm, l2_norm_of_all, summed_variation, total_variation
from .parts.natural_basis import natural_basis
from .parts.registration import registered_mean
from .parts.rounds import need_update, observed
from .parts.shrinkage import Shrinking
from .parts.simulated_client import Client, familiar_images, simulated_client, update_scale

SCALE_FREE = {"relative_l1": relative_l1, "cosine": cosine}
REDUCTIONS = {"mean": (total_variation, l2_norm), "sum": (summed_variation, l2_norm_of_all)}
COSINE_TV = 1e-2  # the weight of total variation that suits the cosine distance without noise
MEAN, STD, BOX = 0.5, 0.25, 2.0  # pixels are MEAN + STD * x with x in [-BOX, BOX], as networks are used to


@entry
class GradInversion(Shrinking):
    """Match the gradient with image priors, BatchNorm statistics and consistency among `seeds` runs; labels granted or
    recovered."""

    steps: int = Field(default=600, ge=1)
    seeds: int = Field(default=2, ge=1)
    halvings: int = Field(
        default=1, ge=0, le=6
    )  # how often the worse half of the seeds is dropped; 0 under known noise
    lr: float = Field(default=0.4, gt=0)
    warmup: int = Field(default=10, ge=0)
    signed: bool = True
    distance: Literal["standardized_l1", "relative_l1", "layerwise_l2", "cosine"] = "standardized_l1"
    spread_batches: int = Field(default=32, ge=2)  # batches by which standardized_l1 learns what varies
    label_rule: Literal["counts", "minimum"] = "counts"
    gradient: float = Field(default=1.0, ge=0)
    tv: float = Field(default=0.05, ge=0)
    l2: float = Field(default=1e-6, ge=0)
    batchnorm: float = Field(default=1e-4, ge=0)
    first_batchnorm: float = Field(default=10.0, ge=0)  # multiplies the first layer's share of `batchnorm`
    reduction: Literal["mean", "sum"] = "mean"  # total variation by pixel and norms by image, or those of all together
    group: float = Field(default=1e-4, ge=0)
    group_start: float = Field(default=0.25, ge=0, le=1)  # share of the steps after which the seeds are first averaged
    group_every: int = Field(default=20, ge=1)  # steps between averages
    shift: int = Field(default=3, ge=0)  # the most pixels by which registration moves an image; 0 is a plain mean
    langevin: float = Field(default=0.0, ge=0)
    falloff: float | None = Field(default=None, ge=0, le=2)  # power by which steps fall with frequency; None: in pixels
    color: float = Field(default=0.0, ge=0)  # weight of how far colors are from those of public images
    boxed: bool = True  # whether pixels are kept within [0, 1] at every step, or only cut off in the end
    keep: Literal["lowest", "last"] = "lowest"  # which iterate of a seed is returned
    at_once: int | None = Field(default=None, ge=1)  # seeds held in memory together; None: as many as pays
    read_error: bool = True  # whether a single example's slopes in the logits are read off the update, if it tells them
    least_sure: bool = False  # whether a batch is taken for one image, the one that the model is least sure of
    joint_labels: bool = False  # whether labels that are not granted are searched with the pixels, from recovered ones
    assumed_recipe: Recipe | None = None  # how clients are taken to train where the recipe is withheld; None: one step
    guesses: tuple[Recipe, ...] = ()  # at how clients train, where that is withheld: the likeliest is taken
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)
    starts: ClassVar[str] = "seeds"
    renamed: ClassVar[dict[str, str]] = {"supposed": "assumed_recipe"}

    @classmethod
    def published(cls) -> "GradInversion":
        """What the paper has, as far as it is known, for ImageNet at 224 pixels; 20,000 steps of 8 seeds.

        Its weights, rates and numbers of steps and seeds come from summaries of the paper, the 20,000 steps from another
        implementation's configuration. Not known, hence chosen here: whether total variation is of absolute or squared
        differences, in which directions, and whether summed (here absolute, vertical and horizontal, summed, as the term is
        written); whether norms are of the batch or of each image (of the batch); whether a layer's bias is a layer of its
        own in the distance (it is); Adam's decay rates (PyTorch's); the shape of the warm-up (linear); whether images are
        bounded (only in the end) or moved and flipped on the way (no); which BatchNorm statistics are known (those of the
        threat model); what is done to the seeds between two averages (each is drawn to the last one); which seed and which
        iterate is taken (the lowest seed, the last iterate). No code of the authors is known.
        """
        return cls(
            steps=20_000,
            seeds=8,
            halvings=0,
            lr=0.1,
            warmup=50,
            signed=False,
            distance="layerwise_l2",
            label_rule="minimum",
            read_error=False,
            gradient=1e-3,
            tv=1e-4,
            batchnorm=0.1,
            first_batchnorm=1.0,
            reduction="sum",
            group=0.01,
            group_every=100,
            langevin=0.2,
            boxed=False,
            keep="last",
            adaptive=False,
        )

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The seed of lowest objective."""
        view.need(*self.needs)
        need_update(view)
        if self.least_sure and view.count != 1:
            return among_others(self.reconstruct(least_sure(self.known(view)), rng), view)
        view = with_likeliest_recipe(self.known(view), self.guesses, self.shorter(guesses=()).reconstruct, rng)
        by_rule = self.label_rule == "minimum" and view.labels is None
        labels = over_batches(view, by_minimum(view)) if by_rule else known_or_recovered(view)
        tuned = self._tuned(view, len(labels))
        reads, measure = self.read_error and not self.joint_labels, batch_statistics(view.model)
        client = simulated_client(view, output_error) if reads else simulated_client(view)
        basis = natural_basis((familiar_images(view) - MEAN) / STD, self.falloff)
        distance, whitened = tuned._distance(client, view, labels, rng), whitening(view)

        def misfit(scaled: Tensor, *logits: Tensor) -> Tensor:
            return distance(whitened(client(MEAN + STD * scaled, guessed(labels, *logits))))

        def one(written: Tensor, consensus: Tensor, *logits: Tensor) -> Tensor:
            scaled = basis.images(written)
            statistics = self._statistics(measure, MEAN + STD * scaled, view)
            loss = tuned.objective(scaled, misfit(scaled, *logits), statistics, consensus.detach())
            return loss + self.color * basis.unlikely(scaled) if self.color else loss

        def after(step: int, variables: Variables) -> Variables:
            noise = self.lr * schedule(step) * self.langevin * self._normal(view, variables[0].shape[:2], rng)
            scaled = self._within_range(basis.images(variables[0]) + noise)
            since = step + 1 - int(self.group_start * course.steps)
            return basis.coefficients(scaled), self._consensus(since, scaled, variables[1], labels), *variables[2:]

        course = halved(self.seeds, self.steps, tuned.halvings)
        schedule = course.cooling(self.warmup)
        start = self._within_range(self._normal(view, (self.seeds, len(labels)), rng))
        (written, _, *logits), lowest = descend(
            (basis.coefficients(start), start, *free_labels(view, labels, self.seeds, self.joint_labels)),
            side_by_side(one),
            steps=course.steps,
            lr=self.lr,
            factor=schedule,
            slope=torch.sign if self.signed else torch.clone,
            after=after,
            at_once=self.at_once or at_once(self.seeds, view.update),
            misfit=side_by_side(lambda written, consensus, *logits: misfit(basis.images(written), *logits)),
            keep=self.keep,
            survivors=course.survivors,
        ).best()
        return Reconstruction((MEAN + STD * basis.images(written)).clamp(0, 1), likeliest(labels, *logits), lowest)

    def known(self, view: View) -> View:
        """The view with what the attacker reckons with: no defense, unless `adaptive`, and a recipe, if one is assumed."""
        view = super().known(view)
        return view if view.recipe else dataclasses.replace(view, recipe=self.assumed_recipe)

    def _tuned(self, view: View, images: int) -> "GradInversion":
        """This attack, with the distance and the total variation's weight that suit the noise that it knows of, and with all
        seeds to the end, whose mean is less noisy than they are."""
        smooth = STD * smoothness(view, images) / evidence(view)  # `tv` is for (pixels - MEAN) / STD
        if not smooth:
            return self
        return dataclasses.replace(self, distance="cosine", tv=max(STD * COSINE_TV, smooth), halvings=0)

    def objective(
        self, scaled: Tensor, distance: Tensor, statistics: tuple[Params, Params] | None, consensus: Tensor
    ) -> Tensor:
        """The scalar that one seed's images `scaled` [n, channels, height, width], about N(0, 1), are searched for.

        `distance` is that of their gradient to the observed one, `statistics` theirs and the known ones at BatchNorm
        layers, `consensus` the seeds' registered mean.
        """
        variation, length = REDUCTIONS[self.reduction]
        loss = self.gradient * distance + self.tv * variation(scaled) + self.l2 * length(scaled)
        if statistics is not None:
            loss = loss + self.batchnorm * statistics_distance(*statistics, self.first_batchnorm)
        return loss + self.group * length(scaled - consensus)

    def _distance(self, client: Client, view: View, labels: Tensor, rng: Generator) -> Distance:
        """That of a step's mean gradient to the observed one; most distances are the same of the steps themselves."""
        seen = whitening(view)(observed(view))
        if self.distance == "standardized_l1":
            spread = spreads(client, view, labels, self.spread_batches, rng)
            return standardized_l1(seen, {name: part.sqrt() for name, part in spread.items()})
        if self.distance == "layerwise_l2":
            of_steps, longer = layerwise_l2(seen), update_scale(view)
            return lambda sent: of_steps(sent) / longer
        return SCALE_FREE[self.distance](seen)

    def _statistics(self, measure: Measure, images: Tensor, view: View) -> tuple[Params, Params] | None:
        return None if view.buffers is None or self.batchnorm == 0 else (measure(images), view.buffers)

    def _consensus(self, since: int, scaled: Tensor, last: Tensor, labels: Tensor) -> Tensor:
        """What each seed is drawn to `since` steps after the seeds were first averaged: to nothing, that is itself, before
        that, and where it is the only one."""
        if since < 0 or len(scaled) == 1 or self.group == 0:
            return scaled
        return registered_mean(scaled, labels, self.shift) if since % self.group_every == 0 else last

    def _within_range(self, scaled: Tensor) -> Tensor:
        return scaled.clamp(-BOX, BOX) if self.boxed else scaled

    def _normal(self, view: View, images: Sequence[int], rng: Generator) -> Tensor:
        """Images [seeds, n, *shape] of N(0, 1)."""
        drawn = torch.randn((*images, *view.space.shape), generator=rng)
        return drawn.to(next(iter(view.update.values())).device)
