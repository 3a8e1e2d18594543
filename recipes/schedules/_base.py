"""A schedule of the learning rate."""

import torch
from torch.optim.lr_scheduler import LRScheduler


class Schedule:
    """The factor on the learning rate, by how many units (steps or epochs) of `total` are done."""

    def made(self, optimizer: torch.optim.Optimizer, total: int) -> LRScheduler:
        """The scheduler itself, of torch.optim.lr_scheduler, to be advanced after each unit."""
        raise NotImplementedError

    def factor(self, done: int, total: int) -> float:
        """The same, as a factor."""
        raise NotImplementedError
