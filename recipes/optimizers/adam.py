"""Adam: A Method for Stochastic Optimization (Kingma, Ba, ICLR 2015), arXiv:1412.6980."""

from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from seethrough.common.entry import entry

from ._base import Optimizer, State, Tensors
from ._moments import moved


@entry
class Adam(Optimizer):
    """torch.optim.Adam: each coordinate's mean gradient over the root of its mean square; weight decay is L2."""

    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0, allow_inf_nan=False)

    def made(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, lr=lr, betas=(self.beta1, self.beta2), eps=self.eps, weight_decay=self.weight_decay
        )

    def step(self, weights: Tensors, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        if self.weight_decay:
            slopes = {name: slope + self.weight_decay * weights[name] for name, slope in slopes.items()}
        return moved(slopes, state, lr, self.beta1, self.beta2, self.eps)

    def keeps_signs(self) -> bool:
        return self.weight_decay == 0
