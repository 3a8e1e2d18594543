"""The clients of federated rounds: local training, and what each of them sends."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seethrough.defenses import Aggregate, Batch, Defense, GradFn, MeanGradient, Params, Update
from seethrough.recipes import Order, Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy
from seethrough.recipes.replay import sum_of
from seethrough.recipes.trainable import trained


class DivergedError(ArithmeticError):
    """A training left the finite numbers."""


@dataclass(frozen=True, eq=False)
class Round:
    """One round: what was broadcast, what the clients hold, and what the server has afterward."""

    model: nn.Module  # the broadcast model, in the clients' mode
    batches: tuple[Batch, ...]  # the truth, one batch a client; the first client is the one under attack
    aggregate: Aggregate
    orders: tuple[Order | None, ...]  # in which the clients took their examples; None where that is not known

    def read(self) -> Update:
        """What the server reads of the client under attack: its own update if it can, else the mean of those in the sum."""
        return self.aggregate.seen[0] if self.aggregate.seen else self.aggregate.mean

    def places(self) -> tuple[int, ...]:
        """The clients behind what the server can read: the first one, or all who are in the sum."""
        if self.aggregate.seen:
            return (0,)
        members = self.aggregate.members
        return tuple(range(len(self.batches))) if members is None else members

    def order(self) -> Order | None:
        """In which the client took its examples whose own update the server reads; None for a mean."""
        return self.orders[0] if self.aggregate.seen else None

    def victims(self) -> tuple[Batch, ...]:
        """Their batches."""
        return tuple(self.batches[place] for place in self.places())


def simulate_round(
    model: nn.Module, batches: tuple[Batch, ...], recipe: Recipe, defense: Defense, rngs: tuple[Generator, ...]
) -> Round:
    """One round under `defense`; `rngs` holds a stream for each client and a last one for combining their updates."""
    gradient = defense.train(MeanGradient(recipe.loss))
    orders = tuple(recipe.order(len(batch), rng) for batch, rng in zip(batches, rngs[:-1], strict=True))
    updates = tuple(
        local_update(model, batch, recipe, gradient, rng, order)
        for batch, rng, order in zip(batches, rngs[:-1], orders, strict=True)
    )
    return Round(model, batches, defense.aggregate(defense.cohort_step(updates, rngs[:-1]), rngs[-1]), orders)


def simulate_rounds(
    model: nn.Module,
    batches: tuple[Batch, ...],
    recipe: Recipe,
    defense: Defense,
    rngs: tuple[tuple[Generator, ...], ...],
) -> tuple[Round, ...]:
    """As many rounds as `rngs` holds streams for, with the same clients on the same batches; after each, the server adds
    their mean step to the weights.

    Raises: DivergedError, if a client's step is not finite.
    """
    simulated: list[Round] = []
    for streams in rngs:
        if simulated:
            model = _averaged(model, simulated[-1].aggregate.mean)
        simulated.append(simulate_round(model, batches, recipe, defense, streams))
    return tuple(simulated)


@torch.no_grad()
def _averaged(model: nn.Module, mean: Update) -> nn.Module:
    moved = copy.deepcopy(model)
    for name, parameter in trained(moved).items():
        parameter.add_(mean.step[name])
    follow_statistics(moved, mean)
    return moved


@torch.no_grad()
def follow_statistics(model: nn.Module, mean: Update) -> None:
    """Move BatchNorm's running statistics toward those of the clients' batches, if it trains on these."""
    for name, layer in batchnorm_layers(model).items() if model.training else ():
        for kind in ("running_mean", "running_var"):
            if f"{name}.{kind}" in mean.buffers and layer.running_mean is not None:
                getattr(layer, kind).lerp_(mean.buffers[f"{name}.{kind}"], layer.momentum or 0.1)


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
