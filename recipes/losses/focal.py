"""Focal Loss for Dense Object Detection (Lin, Goyal, Girshick, He, Dollar, ICCV 2017), arXiv:1708.02002, equation 4."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Loss, one_hot


@entry
class Focal(Loss):
    """Cross-entropy, each example's times (1 - the softmax of its class)^gamma, over a softmax of all classes."""

    gamma: float = Field(default=2.0, ge=0, allow_inf_nan=False)

    signs_tell: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return -(one_hot(labels, logits) * (1 - logs.exp()) ** self.gamma * logs).sum(dim=1).mean()
