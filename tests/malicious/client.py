"""What a client of a malicious server sends, and how many of its images were found in it."""

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.defenses import Batch


def slopes(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The gradient of the mean cross-entropy of a batch in float64, by the parameters' names."""
    model = copy.deepcopy(model).double()
    F.cross_entropy(model(batch.inputs.double()), batch.labels).backward()
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def exact(found: Tensor, truth: Tensor) -> int:
    """How many of the true images are among the found ones [n, pixels], to a thousandth in every pixel."""
    if not len(found):
        return 0
    return sum(bool(((found - image.flatten()).abs().amax(dim=1) < 1e-3).any()) for image in truth.double())
