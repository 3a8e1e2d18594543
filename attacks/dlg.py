"""Deep Leakage from Gradients (Zhu, Liu, Han, NeurIPS 2019), arXiv:1906.08935.

Find the images x and soft labels y that minimize, by L-BFGS, the squared distance of their step to the observed one
(equation 4),

    sum over layers l of w_l || step_l(x, softmax(y)) - observed_l ||^2

Departs from the paper: w_l is not 1 but counts a layer's error in units of its mean square at the start, since under
PyTorch's default initialization the first layers' gradients are thousands of times smaller than the last one's, and a plain
sum leaves them unmatched. The start is mid-gray with a little noise, not N(0, 1), and the labels that the classifier's
gradient gives away, not random ones. L-BFGS searches along its steps by the strong Wolfe conditions, where the authors' code
takes steps of 1; known noise adds a total variation of matching weight. Granted labels stay fixed; so do recovered ones
without `joint_labels`, as the one label does that iDLG reads off signs (Zhao, Mopuri, Bilen, 2020, arXiv:2001.02610). The
iterate of lowest objective is returned, clamped.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry

from ._base import Reconstruction, View
from .engine.no_gradient import Variables
from .engine.search import quasi_newton
from .labels.rules import known_or_recovered
from .labels.soft import free_labels, guessed, likeliest, starting_logits
from .parts.adaptive import smoothness, standardized_evidence
from .parts.distances import error_variances, standardized_l2
from .parts.image_priors import rounded_variation
from .parts.rounds import need_update, observed
from .parts.shrinkage import Shrinking
from .parts.simulated_client import simulated_client


@entry
class DLG(Shrinking):
    """Match the update in squared distance by L-BFGS, over pixels and, where labels are not granted, soft labels."""

    steps: int = Field(default=400, ge=1, le=100_000)
    history: int = Field(default=100, ge=1, le=1000)  # steps whose curvature L-BFGS remembers
    restarts: int = Field(default=1, ge=1, le=64)
    spread: float = Field(default=0.01, ge=0, le=10)  # standard deviation of the starting pixels around mid-gray
    confidence: float = Field(
        default=5.0, ge=0, le=20
    )  # logit of the recovered label at the start, the others' being 0
    joint_labels: bool = True  # whether labels that are not granted are searched with the pixels
    adaptive: bool = True  # whether a known defense is reckoned with

    needs: ClassVar[tuple[str, ...]] = ("count", "recipe")

    def reconstruct(self, view: View, rng: Generator) -> Reconstruction:
        """The restart of lowest objective, each image with the likeliest class of its soft label."""
        view.need(*self.needs)
        need_update(view)
        view = self.known(view)
        labels = known_or_recovered(view)
        client, seen = simulated_client(view), observed(view)
        noise = torch.randn((self.restarts, len(labels), *view.space.shape), generator=rng).to(labels.device)
        start = 0.5 + self.spread * noise
        free = free_labels(view, labels, self.restarts, self.joint_labels, self.confidence)
        certain = F.one_hot(labels, view.space.classes).to(start.dtype)
        begin = starting_logits(labels, view.space.classes, self.confidence).softmax(dim=-1)
        variances = error_variances(client(start[0], begin), seen)
        distance = standardized_l2(seen, variances)
        prior = smoothness(view, len(labels)) / standardized_evidence(view, variances)

        def misfit(variables: Variables) -> Tensor:
            sent = [client(images, guessed(certain, *logits)) for images, *logits in zip(*variables, strict=True)]
            return torch.stack([distance(step) for step in sent])

        def objective(variables: Variables) -> Tensor:
            return misfit(variables) + prior * torch.stack([rounded_variation(images) for images in variables[0]])

        found = quasi_newton((start, *free), objective, steps=self.steps, history=self.history, misfit=misfit)
        (images, *logits), loss = found.best()
        return Reconstruction(images.clamp(0, 1), likeliest(labels, *logits), loss)
