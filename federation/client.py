"""A client of federated rounds: its local training, and what it sends."""

import copy
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seethrough.defenses import Batch, GradFn, MeanGradient, Params, Update
from seethrough.recipes import Order, Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy
from seethrough.recipes.replay import sum_of
from seethrough.recipes.trainable import trained


class DivergedError(ArithmeticError):
    """A training left the finite numbers."""


def local_update(
    model: nn.Module, batch: Batch, recipe: Recipe, gradient: GradFn, rng: Generator, order: Order | None = None
) -> Update:
    """What a client's local training changes, before any defense of the finished update; `order` None draws one.

    Trained by torch.optim itself. The step is the difference of the weights, as they would be sent, but where it is a single
    gradient of all examples, which is sent without being added to any weight and so loses no digits.
    Raises: DivergedError, if it is not finite.
    """
    local, count = copy.deepcopy(model), len(batch)
    broadcast = {name: parameter.detach().clone() for name, parameter in trained(model).items()}
    parameters, slope = trained(local), dict[str, Tensor]()
    optimizer = recipe.optimizer.made(parameters.values(), recipe.lr)
    moves_on, total = recipe.schedule_units(count)
    schedule = recipe.schedule.made(optimizer, total)
    for batches, unit in zip(order or recipe.order(count, rng), moves_on, strict=True):
        parts = [gradient(local, Batch(batch.inputs[part], batch.labels[part]), rng) for part in batches]
        slope = {name: sum_of(part[name] for part in parts) / recipe.accumulate for name in parameters}
        for name, parameter in parameters.items():
            pulled = recipe.proximal * (parameter.detach() - broadcast[name]) if recipe.proximal else 0.0
            parameter.grad = slope[name] + pulled
        if recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.clip_norm)
        optimizer.step()
        if unit:
            schedule.step()
    step = {name: parameter.detach() - broadcast[name] for name, parameter in parameters.items()}
    if recipe.is_one_gradient(count):
        step = {name: -recipe.length(count) * part for name, part in slope.items()}
    if not all(part.isfinite().all() for part in step.values()):
        raise DivergedError(
            f"a client's update is not finite after {recipe.taken(count)} local steps at a local.lr of {recipe.lr:g}"
        )
    return Update(step, count, batch_statistics(model, batch.inputs))


mean_gradient = MeanGradient(CrossEntropy())
"""The gradient of the mean cross-entropy."""


def batchnorm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The model's BatchNorm layers by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}


@torch.no_grad()
def batch_statistics(model: nn.Module, inputs: Tensor) -> Params:
    """Mean and biased variance of each channel at the input of each BatchNorm layer, for one batch, at the model's weights.

    Named as the layer's running statistics are; empty for a model without BatchNorm.
    """
    watched = copy.deepcopy(model)
    found: dict[str, Tensor] = {}
    for name, layer in batchnorm_layers(watched).items():
        layer.register_forward_pre_hook(_recorder(name, found))
    if batchnorm_layers(watched):
        watched(inputs)
    return found


def _recorder(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def record(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        channels = arguments[0].transpose(0, 1).flatten(1)
        found[f"{name}.running_mean"] = channels.mean(dim=1)
        found[f"{name}.running_var"] = channels.var(dim=1, unbiased=False)

    return record
