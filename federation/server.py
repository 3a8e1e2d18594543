"""What the server makes of the clients' mean step.

Federated averaging (McMahan et al., AISTATS 2017, arXiv:1602.05629): w <- w + rate * mean of the clients' steps; or FedAdam
(Reddi et al., ICLR 2021, arXiv:2003.00295), which hands that mean to Adam as a gradient. Departs from the paper: Adam corrects
its bias, and its epsilon is 1e-8 instead of 1e-3, so that a defense that only scales every step costs nothing.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from seethrough.defenses import Update
from seethrough.recipes.trainable import trained

from .client import DivergedError, batchnorm_layers

Rule = Literal["sgd", "adam"]
RULES: dict[Rule, Callable[..., Optimizer]] = {"sgd": SGD, "adam": partial(Adam, betas=(0.9, 0.99))}


class Server:
    """A server with a model of its own, a copy of the one that it starts from."""

    def __init__(self, start: nn.Module, rule: Rule = "sgd", rate: float = 1.0) -> None:
        self.model = copy.deepcopy(start)
        self._optimizer = RULES[rule](trained(self.model).values(), lr=rate)

    @torch.no_grad()
    def move(self, mean: Update) -> None:
        """Move the weights along the mean step. Raises: DivergedError, if they are not finite after it."""
        for name, parameter in trained(self.model).items():
            parameter.grad = -mean.step[name]
        self._optimizer.step()
        follow_statistics(self.model, mean)
        if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
            raise DivergedError("the weights are no longer finite")

    def broadcast(self) -> nn.Module:
        """A copy of the model as it stands."""
        return copy.deepcopy(self.model)


@torch.no_grad()
def follow_statistics(model: nn.Module, mean: Update) -> None:
    """Move BatchNorm's running statistics toward those of the clients' batches, if it trains on these."""
    for name, layer in batchnorm_layers(model).items() if model.training else ():
        for kind in ("running_mean", "running_var"):
            if f"{name}.{kind}" in mean.buffers and layer.running_mean is not None:
                getattr(layer, kind).lerp_(mean.buffers[f"{name}.{kind}"], layer.momentum or 0.1)
