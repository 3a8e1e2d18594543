"""Deep Leakage from Gradients (Zhu, Liu, Han, NeurIPS 2019), arXiv:1906.08935, by cosine, layer by layer, with soft labels.

Find the images x in [0, 1] and the label logits y that minimize, by Adam on slopes of bounded length,

    sum over layers l of w_l (1 - cosine(step_l(x, softmax(y)), observed_l)) + tv * pixels * TV(x)

Each layer counts by its direction alone, however small its gradient, and labels are searched from random logits unless they
are granted or, on request, recovered and kept.

Departs from the paper: in the distance, which is squared there; in Adam with a constant rate and slopes of bounded length for
L-BFGS; in total variation, and its weight in proportion to the number of pixels; in a start near black, not N(0, 1); images
are kept within [0, 1]; the iterate of lowest objective is returned. Of DLG there remain free labels and their random start.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.defenses import NotApplicableError, Params

from ._base import Reconstruction, View
from .engine.no_gradient import Variables
from .engine.search import descend, shortened
from .engine.side_by_side import at_once, side_by_side
from .labels.rules import known_or_recovered
from .labels.soft import guessed, likeliest
from .parts.distances import layerwise_cosine
from .parts.image_priors import total_variation
from .parts.rounds import need_update, observed, rounds_of, stack_rounds
from .parts.shrinkage import Shrinking
from .parts.simulated_client import simulated_client


@entry
class LayerwiseCosine(Shrinking):
    """Match each layer's direction, with weights for the layers, over pixels and soft labels."""

    steps: int = Field(default=500, ge=1, le=100_000)
    lr: float = Field(default=0.05, gt=0, le=10)
    tv: float = Field(default=1e-3, ge=0)
    layer_weights: tuple[float, ...] | None = None  # one for each parameter tensor, in the model's order; None: all 1
    longest_slope: float = Field(default=1.0, gt=0)
    spread: float = Field(default=0.01, ge=0, le=10)  # standard deviation of the starting pixels around black
    restarts: int = Field(default=1, ge=1, le=64)
    joint_labels: bool = True  # whether labels that are not granted are searched with the pixels
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count",)

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The restart of lowest objective. Raises: NotApplicableError, if there are not as many weights as tensors."""
        view.need(*self.needs)
        need_update(view)
        view = self.known(view)
        labels, client = known_or_recovered(view), simulated_client(view)
        rounds = len(rounds_of(view))
        distance = layerwise_cosine(observed(view), stack_rounds([self._weights(view)] * rounds))

        def misfit(images: Tensor, *logits: Tensor) -> Tensor:
            return distance(client(images, guessed(labels, *logits))) / rounds

        def loss(images: Tensor, *logits: Tensor) -> Tensor:
            return misfit(images, *logits) + self.tv * images.numel() * total_variation(images)

        def within_range(step: int, variables: Variables) -> Variables:
            return variables[0].clamp(0, 1), *variables[1:]

        def normal(*shape: int) -> Tensor:
            return torch.randn((self.restarts, len(labels), *shape), generator=rng).to(labels.device)

        pixels = (self.spread * normal(*view.space.shape)).clamp(0, 1)
        free = (normal(view.space.classes),) if view.labels is None and self.joint_labels else ()
        (images, *logits), lowest = descend(
            (pixels, *free),
            side_by_side(loss),
            steps=self.steps,
            lr=self.lr,
            slope=shortened(self.longest_slope),
            after=within_range,
            at_once=at_once(self.restarts, view.update),
            misfit=side_by_side(misfit),
        ).best()
        return Reconstruction(images, likeliest(labels, *logits), lowest)

    def _weights(self, view: View) -> Params:
        given = self.layer_weights or (1.0,) * len(view.update)
        if len(given) != len(view.update):
            raise NotApplicableError(
                f"`layer_weights` holds {len(given)} numbers, but the model has {len(view.update)} parameter tensors"
            )
        return {name: part.new_tensor(weight) for (name, part), weight in zip(view.update.items(), given, strict=True)}
