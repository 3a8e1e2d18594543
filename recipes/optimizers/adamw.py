"""Decoupled Weight Decay Regularization (Loshchilov, Hutter, ICLR 2019), arXiv:1711.05101."""

from typing import ClassVar

import torch
from pydantic import Field

from seethrough.common.entry import entry

from ._base import State, Tensors
from ._moments import Moments


@entry
class AdamW(Moments):
    """torch.optim.AdamW: Adam's step, and a share of lr * weight_decay taken off the weights beside it."""

    weight_decay: float = Field(default=1e-2, ge=0, allow_inf_nan=False)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0, allow_inf_nan=False)

    solver: ClassVar[type[torch.optim.Optimizer]] = torch.optim.AdamW

    def step(self, weights: Tensors, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        change, state = self.moved(slopes, state, lr)
        shrinks = lr * self.weight_decay
        return {name: part - shrinks * weights[name] for name, part in change.items()}, state

    def decayed(self, rates: tuple[float, ...]) -> float:
        return self.weight_decay * sum(rates)
