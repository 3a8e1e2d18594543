"""A learning rate that falls by half a cosine: SGDR (Loshchilov, Hutter, ICLR 2017), arXiv:1608.03983, without restarts."""

import math

import torch
from pydantic import Field
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from seethrough.common.entry import entry

from ._base import Schedule


@entry
class Cosine(Schedule):
    """torch's CosineAnnealingLR: from the rate down to 0 over `over` units; without it, over all of the client's training."""

    over: int | None = Field(default=None, ge=1)

    def made(self, optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        return CosineAnnealingLR(optimizer, self.over or total)

    def factor(self, done: int, total: int) -> float:
        return (1 + math.cos(math.pi * done / (self.over or total))) / 2
