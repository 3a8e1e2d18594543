"""What Adam and AdamW share."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from ._base import Optimizer, State, Tensors, root


class Moments(Optimizer):
    """An optimizer of torch's that divides each coordinate's mean gradient by the root of its mean square."""

    solver: ClassVar[type[torch.optim.Optimizer]]

    weight_decay: float
    beta1: float
    beta2: float
    eps: float

    def made(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        betas, decay = (self.beta1, self.beta2), self.weight_decay
        return self.solver(parameters, lr=lr, betas=betas, eps=self.eps, weight_decay=decay)  # type: ignore[call-arg]

    def moved(self, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        """The change without any weight decay, and the moments afterward."""
        any_slope = next(iter(slopes.values()))
        nothing = {name: torch.zeros_like(slope) for name, slope in slopes.items()}
        first, second = state.get("first", nothing), state.get("second", nothing)
        steps = state["steps"]["all"] + 1 if state else torch.ones((), dtype=torch.float64, device=any_slope.device)
        first = {name: self.beta1 * first[name] + (1 - self.beta1) * slope for name, slope in slopes.items()}
        second = {name: self.beta2 * second[name] + (1 - self.beta2) * slope.square() for name, slope in slopes.items()}
        of_first, of_second = ((1 - beta**steps).to(any_slope.dtype) for beta in (self.beta1, self.beta2))
        change = {name: -lr / of_first * first[name] / (root(second[name] / of_second) + self.eps) for name in slopes}
        return change, {"first": first, "second": second, "steps": {"all": steps}}
