"""Decoupled Weight Decay Regularization (Loshchilov, Hutter, ICLR 2019), arXiv:1711.05101."""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from seethrough.common.entry import entry

from ._base import Optimizer, State, Tensors
from ._moments import moved


@entry
class AdamW(Optimizer):
    """torch.optim.AdamW: Adam's step, and a share of lr * weight_decay taken off the weights beside it."""

    weight_decay: float = Field(default=1e-2, ge=0, allow_inf_nan=False)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0, allow_inf_nan=False)

    def made(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, lr=lr, betas=(self.beta1, self.beta2), eps=self.eps, weight_decay=self.weight_decay
        )

    def step(self, weights: Tensors, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        change, state = moved(slopes, state, lr, self.beta1, self.beta2, self.eps)
        shrinks = lr * self.weight_decay
        return {name: part - shrinks * weights[name] for name, part in change.items()}, state

    def decayed(self, rates: tuple[float, ...]) -> float:
        return self.weight_decay * sum(rates)
