"""A yes or no for each class by itself."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Loss, one_hot


@entry
class BCE(Loss):
    """torch's binary_cross_entropy_with_logits: each example is a yes for its own class and a no for every other."""

    signs_tell: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, one_hot(labels, logits))
