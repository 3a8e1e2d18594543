"""A client of federated rounds: its local training, and what it sends."""

import copy
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seethrough.common.computing import computing_device
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
    gradient of all examples, which is sent without being added to any weight and so loses no digits. Computed on the
    `computing_device`; what comes of it lies where the examples do.
    Raises: DivergedError, if it is not finite.
    """
    home, device = batch.inputs.device, computing_device()
    there = Batch(batch.inputs.to(device), batch.labels.to(device))
    step = _step(copy.deepcopy(model).to(device), there, recipe, gradient, rng, order)
    step = {name: part.to(home) for name, part in step.items()}
    if not all(part.isfinite().all() for part in step.values()):
        raise DivergedError(
            f"a client's update is not finite after {recipe.taken(len(batch))} local steps at a local.lr of {recipe.lr:g}"
        )
    statistics = batch_statistics(model, there.inputs)
    return Update(step, len(batch), {name: part.to(home) for name, part in statistics.items()})


def _step(
    local: nn.Module, batch: Batch, recipe: Recipe, gradient: GradFn, rng: Generator, order: Order | None
) -> dict[str, Tensor]:
    """The step of `local`, which is trained on the batch; all on one device, apart from what `gradient` gives."""
    count, parameters, slope = len(batch), trained(local), dict[str, Tensor]()
    broadcast = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = recipe.optimizer.made(parameters.values(), recipe.lr)
    moves_on, total = recipe.schedule_units(count)
    schedule = recipe.schedule.made(optimizer, total)
    for batches, unit in zip(order or recipe.order(count, rng), moves_on, strict=True):
        parts = [gradient(local, Batch(batch.inputs[part], batch.labels[part]), rng) for part in batches]
        for name, parameter in parameters.items():
            slope[name] = (sum_of(part[name] for part in parts) / recipe.accumulate).to(parameter.device)
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
    return step


mean_gradient = MeanGradient(CrossEntropy())
"""The gradient of the mean cross-entropy."""


def batchnorm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    """The model's BatchNorm layers by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}


@torch.no_grad()
def batch_statistics(model: nn.Module, inputs: Tensor) -> Params:
    """Mean and biased variance of each channel at the input of each BatchNorm layer, for one batch, at the model's weights.

    Named as the layer's running statistics are, and where `inputs` lie; empty for a model without BatchNorm.
    """
    found: dict[str, Tensor] = {}
    if not batchnorm_layers(model):
        return found
    watched = copy.deepcopy(model).to(inputs.device)
    for name, layer in batchnorm_layers(watched).items():
        layer.register_forward_pre_hook(_recorder(name, found))
    watched(inputs)
    return found


def _recorder(name: str, found: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def record(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        channels = arguments[0].transpose(0, 1).flatten(1)
        found[f"{name}.running_mean"] = channels.mean(dim=1)
        found[f"{name}.running_var"] = channels.var(dim=1, unbiased=False)

    return record
