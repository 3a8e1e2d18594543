"""A learning rate that falls in steps."""

import torch
from pydantic import Field
from torch.optim.lr_scheduler import LRScheduler, StepLR

from seethrough.common.entry import entry

from ._base import Schedule


@entry
class Step(Schedule):
    """torch's StepLR: times `gamma` after each `every` units."""

    every: int = Field(ge=1)
    gamma: float = Field(default=0.1, gt=0, allow_inf_nan=False)

    def made(self, optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        return StepLR(optimizer, self.every, self.gamma)

    def factor(self, done: int, total: int) -> float:
        return self.gamma ** (done // self.every)
