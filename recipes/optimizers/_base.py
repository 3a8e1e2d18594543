"""An optimizer, as torch.optim runs it in a client and as an attacker replays it."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

Tensors = Mapping[str, Tensor]
"""Tensors by the name of their parameter."""

State = Mapping[str, Tensors]
"""What an optimizer remembers between steps: under each kind of memory, tensors by parameter."""


class Optimizer:
    """A rule for steps. Hyperparameters are its fields."""

    def made(self, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """The optimizer itself, of torch.optim."""
        raise NotImplementedError

    def step(self, weights: Tensors, slopes: Tensors, state: State, lr: float) -> tuple[Tensors, State]:
        """By how much the weights change, and what is remembered; `state` is empty before the first step.

        The same numbers as torch.optim's but for rounding; differentiable in weights, slopes and state, and fit for
        `torch.func.vmap`.
        """
        raise NotImplementedError

    def weights_of_slopes(self, rates: tuple[float, ...]) -> tuple[float, ...] | None:
        """How much of each step's gradient is in the whole change, as positive factors, if the change is a weighted sum of
        gradients (but for weight decay); None if it is not. `rates` are the learning rates of all steps."""
        return None

    def decayed(self, rates: tuple[float, ...]) -> float:
        """The share of the weights that the whole change takes off them by weight decay, to first order, where it can be told
        from the rest."""
        return 0.0

    def keeps_signs(self) -> bool:
        """Whether a coordinate whose gradients have one sign moves against it, once that share is added again."""
        return True


def root(squares: Tensor) -> Tensor:
    """The square root, with a slope of 0 where it is 0: torch's own slope there is infinite."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)
