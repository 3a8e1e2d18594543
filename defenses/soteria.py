"""Soteria (Sun, Li, Wang, Yang, Yang, Chen, "Provable Defense against Privacy Leakage in Federated Learning from
Representation Perspective", CVPR 2021), arXiv:2012.06043, the perturbation of least L0 norm.

The features r that go into the defended layer are pruned in that layer's gradient: those i of the largest |r_i| / ||dr_i/dx||,
since by the first-order bound ||x - x'|| >= ||r - r'|| / ||dr/dx|| they move the reconstructed input most.

Departs from the paper: the defended layer is the classifier, which every model here has; the ratio of a batch is the mean of
its examples', and a share, not a number, of the features is pruned.
"""

import copy
import math

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from seethrough.common.entry import entry

from ._base import Batch, Defense, GradFn, MeanGradient, NotApplicableError, Params

CHUNK = 64  # features whose slopes are taken at once


@entry
class Soteria(Defense):
    """Send zeros for a share of the columns of the classifier's gradient: `pruned`, of the features that tell most.

    It claims nothing: the gradients of all other layers, and the classifier's bias with the labels, are sent as they are.
    """

    pruned: float = Field(default=0.8, gt=0, lt=1)

    def train(self, grad: MeanGradient) -> GradFn:
        """`grad` without those columns; each local step chooses them anew.

        Raises (when called): NotApplicableError, if the model has no linear layer.
        """

        def pruned_gradient(model: nn.Module, batch: Batch, rng: Generator) -> Params:
            layer = _classifier(model)
            telling = reach(model, layer, batch.inputs)
            most = telling.topk(math.ceil(self.pruned * len(telling))).indices
            sent = torch.ones_like(telling).index_fill(0, most, 0.0)
            weight = f"{layer}.weight" if layer else "weight"
            return {name: part * sent if name == weight else part for name, part in grad(model, batch, rng).items()}

        return pruned_gradient

    def expected(self, step: Params, observed: Params) -> Params:
        """The step without the columns of matrices in which nothing was seen."""

        def kept(part: Tensor, seen: Tensor) -> Tensor:
            return part * (seen != 0).any(dim=0) if seen.dim() == 2 else part

        return {name: kept(part, observed[name]) for name, part in step.items()}


def reach(model: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """The mean over examples of |r_i| / ||dr_i/dx|| for each feature i that goes into the named layer, [features].

    Zero for a feature that no change of the input moves, whose gradient is zero as well if it is a rectified one.
    """
    seen: list[Tensor] = []
    copied = copy.deepcopy(model)
    copied.get_submodule(layer).register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    images = inputs.detach().clone().requires_grad_()
    copied(images)
    features = seen[0]
    lengths = []
    for chunk in torch.eye(features.shape[1], dtype=features.dtype, device=features.device).split(CHUNK):
        (slopes,) = torch.autograd.grad(
            features.sum(dim=0), images, grad_outputs=chunk, retain_graph=True, is_grads_batched=True
        )
        lengths.append(slopes.flatten(2).norm(dim=2))
    length = torch.cat(lengths).T
    return torch.where(length > 0, features.detach().abs() / length, 0.0).mean(dim=0)


def _classifier(model: nn.Module) -> str:
    """The name of the last linear layer."""
    linear = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise NotApplicableError(
            "Soteria prunes the gradient of a linear classifier, and the model has no linear layer"
        )
    return linear[-1]
