"""No schedule."""

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from seethrough.common.entry import entry

from ._base import Schedule


@entry
class Constant(Schedule):
    """The learning rate as it is."""

    def made(self, optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        return LambdaLR(optimizer, lambda done: 1.0)

    def factor(self, done: int, total: int) -> float:
        return 1.0
