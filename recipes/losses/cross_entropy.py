"""The loss of nearly every classifier."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Loss


@entry
class CrossEntropy(Loss):
    """torch's cross_entropy: `label_smoothing` of it goes to all classes alike, and `class_weights` holds a weight a class."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: tuple[float, ...] = ()

    signs_tell: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        weights = self._weights(logits)
        if weights is None or not labels.is_floating_point():
            return F.cross_entropy(logits, labels, weights, label_smoothing=self.label_smoothing)
        missed = -logits.log_softmax(dim=1) * weights
        own, all_alike = (labels * missed).sum(), missed.sum() / len(weights)
        return ((1 - self.label_smoothing) * own + self.label_smoothing * all_alike) / (labels * weights).sum()

    def _weights(self, logits: Tensor) -> Tensor | None:
        if not self.class_weights:
            return None
        if len(self.class_weights) != logits.shape[1]:
            raise ValueError(
                f"local.loss: found {len(self.class_weights)} class_weights; allowed: one for each of the "
                f"{logits.shape[1]} classes"
            )
        return torch.tensor(self.class_weights, dtype=logits.dtype, device=logits.device)
