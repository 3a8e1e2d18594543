"""Stochastic gradient descent, with all that torch.optim.SGD has."""

from collections.abc import Iterable

import torch
from pydantic import Field, model_validator
from torch import nn

from seethrough.common.entry import entry

from ._base import Optimizer, State, Tensors


@entry
class Sgd(Optimizer):
    """torch.optim.SGD: momentum, its dampening, Nesterov's momentum and weight decay (L2)."""

    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    nesterov: bool = False
    dampening: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "Sgd":
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov with a momentum above 0 and a dampening of 0")
        return self

    def made(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=lr,
            momentum=self.momentum,
            dampening=self.dampening,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )

    def step(self, weights: Tensors, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        if self.weight_decay:
            slopes = {name: slope + self.weight_decay * weights[name] for name, slope in slopes.items()}
        if not self.momentum:
            return {name: -lr * slope for name, slope in slopes.items()}, {}
        before = state.get("velocity")
        velocity = (
            slopes if before is None else {n: self.momentum * before[n] + self._fresh() * slopes[n] for n in slopes}
        )
        taken = {n: slopes[n] + self.momentum * velocity[n] for n in slopes} if self.nesterov else velocity
        return {name: -lr * part for name, part in taken.items()}, {"velocity": velocity}

    def weights_of_slopes(self, rates: tuple[float, ...]) -> tuple[float, ...]:
        later, found = 0.0, []
        for number, lr in reversed(list(enumerate(rates))):
            later = lr + self.momentum * later  # the rates at which this step's velocity is still taken
            fresh = self._fresh() if number and self.momentum else 1.0
            found.append(lr + self.momentum * fresh * later if self.nesterov else fresh * later)
        return tuple(reversed(found))

    def decayed(self, rates: tuple[float, ...]) -> float:
        return self.weight_decay * sum(self.weights_of_slopes(rates))

    def _fresh(self) -> float:
        return 1 - self.dampening
