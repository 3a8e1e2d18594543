"""How a client trains on its examples: which of them at which step, by which loss, optimizer and rate."""

from dataclasses import fields
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Generator, Tensor

from seethrough.common.catalog import catalog
from seethrough.common.entry import entry
from seethrough.common.section import refuse_unknown_keys
from seethrough.common.spelling import ReadAs, changed, entry_type, label_of, named

from . import losses, optimizers, schedules
from .losses import Loss
from .losses.cross_entropy import CrossEntropy
from .optimizers import Optimizer, Tensors
from .optimizers.sgd import Sgd
from .schedules import Schedule
from .schedules.constant import Constant

Order = tuple[tuple[Tensor, ...], ...]
"""The places (int64) of a client's examples in each batch that it passes through the model, grouped by the steps it takes."""


def _custom_by_colon(value: Any) -> Any:
    return {"custom": value} if isinstance(value, str) and ":" in value else value


AnyOptimizer = Annotated[Optimizer, ReadAs(entry_type(catalog(optimizers, Optimizer).entries))]
AnySchedule = Annotated[Schedule, ReadAs(entry_type(catalog(schedules, Schedule).entries))]
OWN_LOSS = ", or your own as package.module:function"
AnyLoss = Annotated[
    Loss,
    ReadAs(Annotated[entry_type(catalog(losses, Loss).entries, OWN_LOSS), BeforeValidator(_custom_by_colon)]),
]


@entry
class Recipe:
    """How a client trains locally: so many `steps` of its optimizer, or so many `epochs`; neither is one step.

    Each step takes the next `batch_size` of its examples, None all of them, and each epoch starts at the front again. Where
    they do not divide, `last_batch` is smaller, left out, or filled up from the front. `shuffle` puts them in another order in
    each epoch. `clip_norm` is the L2 norm to which each step's gradient is clipped, `proximal` FedProx's mu (Li et al., MLSys
    2020, arXiv:1812.06127): mu times the distance moved so far is added to each gradient. `accumulate` batches make one step,
    by the mean of their gradients. The schedule moves on after each step or epoch, as `schedule_by` says.
    """

    steps: int | None = Field(default=None, ge=1, le=1000)
    batch_size: int | None = Field(default=None, ge=1)
    lr: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    epochs: int | None = Field(default=None, ge=1, le=1000)
    last_batch: Literal["smaller", "drop", "wrap"] = "smaller"
    shuffle: bool = False
    optimizer: AnyOptimizer = Sgd()
    schedule: AnySchedule = Constant()
    schedule_by: Literal["step", "epoch"] = "epoch"
    loss: AnyLoss = CrossEntropy()
    clip_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    proximal: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    accumulate: int = Field(default=1, ge=1, le=1000)

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> "Recipe":
        if self.steps and self.epochs:
            raise ValueError("steps or epochs, not both")
        return self

    def order(self, count: int, rng: Generator | None = None) -> Order:
        """Which of `count` examples each step takes; shuffled only if asked for and by `rng`, else in their own order.

        Raises: ValueError, a sentence, if no batch is left.
        """
        return _drawn(self, count, rng) if self.shuffle and rng is not None else _in_turn(self, count)

    def taken(self, count: int) -> int:
        """The number of steps that a client of `count` examples takes."""
        return len(_in_turn(self, count))

    def most_often(self, count: int) -> int:
        """In how many batches one and the same example can be, whatever the order."""
        seen = torch.zeros(count, dtype=torch.int64)
        batches = [part for step in _in_turn(self, count) for part in step]
        for part in batches:
            seen[part.unique()] += 1
        if not self.shuffle:
            return int(seen.max())
        each = _per_epoch(self, count)
        filled_up = _size(self, count) * each > count and self.last_batch == "wrap"
        return len(batches) // each * (2 if filled_up else 1) + (len(batches) % each > 0)

    def rates(self, count: int) -> tuple[float, ...]:
        """The learning rate of each step."""
        each, taken = self._steps_per_epoch(count), self.taken(count)
        by_step = self.schedule_by == "step"
        total = taken if by_step else -(-taken // each)
        return tuple(self.lr * self.schedule.factor(step if by_step else step // each, total) for step in range(taken))

    def schedule_units(self, count: int) -> tuple[tuple[bool, ...], int]:
        """After which steps the schedule moves on, and how often it would in all."""
        each, taken = self._steps_per_epoch(count), self.taken(count)
        if self.schedule_by == "step":
            return (True,) * taken, taken
        return tuple((step + 1) % each == 0 for step in range(taken)), -(-taken // each)

    def weights_of_slopes(self, count: int) -> tuple[float, ...] | None:
        """How much of each step's gradient is in the whole change, if that is a weighted sum of gradients (but for weight
        decay and what clipping makes of each); None if it is not."""
        groups = [len(step) / self.accumulate for step in _in_turn(self, count)]
        found = self.optimizer.weights_of_slopes(self.rates(count))
        return None if found is None else tuple(each * share for each, share in zip(found, groups, strict=True))

    def length(self, count: int) -> float:
        """How many times longer the whole change is than one mean gradient: the weights of all steps' gradients together, or
        where it is no weighted sum, how far one coordinate may move."""
        return sum(self.weights_of_slopes(count) or self.rates(count))

    def is_one_gradient(self, count: int) -> bool:
        """Whether the change is one gradient of all examples, times a known number."""
        steps = _in_turn(self, count)
        sizes = [len(part) for part in steps[0]]
        whole = len(steps) == 1 and sum(sizes) == count and len(sizes) == self.accumulate and len(set(sizes)) == 1
        linear = self.optimizer.weights_of_slopes((1.0,)) is not None and self.optimizer.decayed((1.0,)) == 0
        return whole and linear and self.clip_norm is None

    def without_decay(self, step: Tensors, weights: Tensors, count: int) -> Tensors:
        """`step` less what weight decay has made of the `weights` at its start, to first order."""
        moved = self.optimizer.decayed(self.rates(count))
        if not moved:
            return step
        return {name: part + moved * weights[name] if name in weights else part for name, part in step.items()}

    def tells_shares(self) -> bool:
        """Whether the change tells how large a gradient is in one coordinate beside another, and so how often a class was
        there: if the optimizer adds gradients up, of a loss whose slope in the logits is softmax - one-hot, or smoothed so."""
        adds_up = self.optimizer.weights_of_slopes((1.0,)) is not None
        return adds_up and isinstance(self.loss, CrossEntropy) and not self.loss.class_weights

    def smoothing(self) -> float:
        """The label smoothing of its loss."""
        return self.loss.label_smoothing if isinstance(self.loss, CrossEntropy) else 0.0

    def written(self) -> dict[str, Any]:
        """As a spec writes it, without what is left at its default."""
        return changed(self, {"optimizer": named, "schedule": named, "loss": named})

    def said(self, count: int) -> str:
        """In words, for a client of `count` examples."""
        size = _size(self, count)
        taken = f"{self.taken(count)} local step(s)" if self.epochs is None else f"{self.epochs} local epoch(s)"
        words = [f"{taken} on {size} images at rate {self.lr:g}, {label_of(self.optimizer)}, {label_of(self.loss)}"]
        words += ["shuffled"] if self.shuffle else []
        words += [f"last batch: {self.last_batch}"] if count % size else []
        words += [f"rate by {label_of(self.schedule)}"] if self.schedule != Constant() else []
        words += [f"gradients clipped to {self.clip_norm:g}"] if self.clip_norm is not None else []
        words += [f"FedProx {self.proximal:g}"] if self.proximal else []
        words += [f"{self.accumulate} batches a step"] if self.accumulate > 1 else []
        return ", ".join(words)

    def _steps_per_epoch(self, count: int) -> int:
        return -(-_per_epoch(self, count) // self.accumulate)


def _only_known_keys(value: Any) -> Any:
    if isinstance(value, dict):
        refuse_unknown_keys(value, tuple(field.name for field in fields(Recipe)))
    return value


AnyRecipe = Annotated[Recipe, BeforeValidator(_only_known_keys)]
"""A recipe as a file writes it: a key that there is not is answered with those that there are."""


def _size(recipe: Recipe, count: int) -> int:
    size = recipe.batch_size or count
    return min(size, count) if recipe.last_batch == "wrap" else size  # nobody is twice in one batch


def _per_epoch(recipe: Recipe, count: int) -> int:
    """Batches an epoch. Raises: ValueError."""
    size = _size(recipe, count)
    found = count // size if recipe.last_batch == "drop" else -(-count // size)
    if not found:
        raise ValueError(
            f"local.last_batch: found drop, which leaves no batch of {size} out of {count} examples; allowed: "
            f"smaller, wrap, or a local.batch_size of at most {count}"
        )
    return found


@lru_cache(maxsize=256)
def _in_turn(recipe: Recipe, count: int) -> Order:
    return _drawn(recipe, count, None)


def _drawn(recipe: Recipe, count: int, rng: Generator | None) -> Order:
    each = _per_epoch(recipe, count)
    epochs = recipe.epochs or -(-(recipe.steps or 1) // -(-each // recipe.accumulate))
    found: list[tuple[Tensor, ...]] = []
    for _ in range(epochs):
        places = torch.arange(count) if rng is None else torch.randperm(count, generator=rng)
        if recipe.last_batch == "wrap":
            places = places.repeat(-(-_size(recipe, count) * each // count))[: _size(recipe, count) * each]
        batches = places.split(_size(recipe, count))[:each]
        found += [batches[start : start + recipe.accumulate] for start in range(0, each, recipe.accumulate)]
    return tuple(found if recipe.epochs else found[: recipe.steps or 1])
