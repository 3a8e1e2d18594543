"""A client's training as a differentiable function of its examples: what an attacker who knows the recipe replays."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from .optimizers import State, Tensors
from .optimizers._base import root
from .recipe import Order, Recipe

Slopes = Callable[[Tensors, Tensor, Tensor], Tensors]
"""The mean loss's gradient at weights, for images [n, *shape] and labels [n] or [n, classes]."""


def replayed(recipe: Recipe, order: Order, weights: Tensors, slopes: Slopes, inputs: Tensor, labels: Tensor) -> Tensors:
    """How far the named weights move when a client trains on these examples in this order.

    The same as torch.optim makes it but for rounding; differentiable in inputs and labels, and fit for `torch.func.vmap`.
    """
    drift: Tensors = {}
    state: State = {}
    for lr, batches in zip(recipe.rates(len(inputs)), order, strict=True):
        now = {name: weight + drift[name] for name, weight in weights.items()} if drift else weights
        parts = [slopes(now, _taken(inputs, part), _taken(labels, part)) for part in batches]
        mean = _mean(parts, recipe.accumulate)
        if recipe.proximal and drift:
            mean = {name: slope + recipe.proximal * drift[name] for name, slope in mean.items()}
        if recipe.clip_norm is not None:
            mean = clipped(mean, recipe.clip_norm)
        change, state = recipe.optimizer.step(now, mean, state, lr)
        drift = {name: drift[name] + change[name] for name in weights} if drift else change
    return drift


def _mean(parts: Sequence[Tensors], count: int) -> Tensors:
    if count == 1:
        return parts[0]
    return {name: sum_of(part[name] for part in parts) / count for name in parts[0]}


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor, in order."""
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first


def clipped(slopes: Tensors, longest: float) -> Tensors:
    """What torch.nn.utils.clip_grad_norm_ makes of them."""
    total = root(sum_of(slope.square().sum() for slope in slopes.values()))
    factor = (longest / (total + 1e-6)).clamp(max=1.0)
    return {name: slope * factor for name, slope in slopes.items()}


def _taken(examples: Tensor, places: Tensor) -> Tensor:
    """`examples` at `places`, as a view where these follow one another."""
    first, count = int(places[0]), len(places)
    if torch.equal(places, torch.arange(first, first + count)):
        return examples[first : first + count]
    return examples[places.to(examples.device)]
