"""Adam: A Method for Stochastic Optimization (Kingma, Ba, ICLR 2015), arXiv:1412.6980."""

from typing import ClassVar

import torch
from pydantic import Field

from seethrough.common.entry import entry

from ._base import State, Tensors
from ._moments import Moments


@entry
class Adam(Moments):
    """torch.optim.Adam: each coordinate's mean gradient over the root of its mean square; weight decay is L2."""

    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0, allow_inf_nan=False)

    solver: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam

    def step(self, weights: Tensors, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        if self.weight_decay:
            slopes = {name: slope + self.weight_decay * weights[name] for name, slope in slopes.items()}
        return self.moved(slopes, state, lr)

    def keeps_signs(self) -> bool:
        return self.weight_decay == 0
