"""What crosses the wire between a client and its server, and the stages at which a defense may change it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from seethrough.recipes import Recipe
from seethrough.recipes.losses import Loss
from seethrough.recipes.replay import Slopes, sum_of
from seethrough.recipes.trainable import trained

from ._mechanism import GaussianMechanism

Params = Mapping[str, Tensor]
"""Tensors by parameter (or buffer) name, as in `nn.Module.state_dict`."""


class NotApplicableError(Exception):
    """This combination cannot be run; the message is the reason that its n/a cell shows."""


class AbortedError(NotApplicableError):
    """A round gives the server nothing, since too few clients stayed in it."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Images with their labels."""

    inputs: Tensor  # float32 [n, channels, height, width] in [0, 1]
    labels: Tensor  # int64 [n]

    def __len__(self) -> int:
        return len(self.labels)


GradFn = Callable[[nn.Module, Batch, Generator], Params]
"""The gradient of the mean loss over a batch, at the weights and in the mode of the module."""


@dataclass(frozen=True)
class MeanGradient:
    """The gradient of the mean loss over the batch, for each parameter that trains, as an undefended client computes it; zeros
    for a parameter that the loss does not depend on."""

    loss: Loss

    def __call__(self, model: nn.Module, batch: Batch, rng: Generator) -> Params:
        names, parameters = zip(*trained(model).items(), strict=True)
        loss = self.loss(model(batch.inputs), batch.labels)
        return dict(zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True))


@dataclass(frozen=True, eq=False)
class Update:
    """What one client would send: `step` = local weights - broadcast weights, always."""

    step: Params
    count: int  # examples behind it
    buffers: Params  # statistics of the client's batch at each BatchNorm layer, under the names of its running ones


@dataclass(frozen=True, eq=False)
class Aggregate:
    """What a round leaves with the server."""

    mean: Update  # weighted by count; its count is that of the clients behind it
    seen: tuple[Update, ...]  # every client's update that the server could read in the clear, in order of clients
    masked: tuple[Tensor, ...] = ()  # every message that it received but could not read
    sent: tuple[
        Params, ...
    ] = ()  # which coordinates each client in the sum sent (bool), where it tells that in the clear
    note: str = ""  # what a reader of the round's numbers should know


@dataclass(frozen=True)
class Message:
    """How long an update is on the wire: `values` numbers of `bits` each, and what must go `beside` them, in bits."""

    values: int
    bits: int
    beside: int = 0

    def length(self) -> int:
        """Whole bytes."""
        return -(-(self.values * self.bits + self.beside) // 8)


@dataclass(frozen=True)
class Guarantee:
    """A claimed bound on what the release says about one unit of data, with all that the claim rests on."""

    epsilon: float
    delta: float
    unit: str  # "example" or "client"
    adjacency: str  # which pairs of data sets count as neighbors
    sampling: str  # the sampling that the accountant assumed
    accountant: str
    statement: str  # some sentences, to be printed as they stand
    composition: str = ""  # over which steps and rounds the numbers are added up
    noise: str = ""  # who adds it, to what, and so against whom the claim holds
    mechanism: GaussianMechanism | None = (
        None  # what the numbers were computed from; None leaves only epsilon and delta
    )


class Defense:
    """What changes before the server sees it. Every default changes nothing; override the stages that differ."""

    def cohort(self) -> int:
        """Number of clients that are to take part in a round, some of whom may drop out of it."""
        return 1

    def kinds(self) -> "tuple[tuple[float, Defense], ...]":
        """What clients do who do not all do the same, each with its share of them; the first is the one under attack's."""
        return ((1.0, self),)

    def of(self, client: int) -> "Defense":
        """What the client of that number does; the one under attack is 0."""
        return self

    def train(self, grad: MeanGradient) -> GradFn:
        """`grad`, as a defended client computes it; `grad.loss` is the clients' loss.

        Raises: NotApplicableError, when called, if the model or the loss forbids."""
        return grad

    def release(self, update: Update, rng: Generator) -> Update:
        """The finished update as it is sent."""
        return update

    def cohort_step(self, updates: tuple[Update, ...], rngs: tuple[Generator, ...]) -> tuple[Update, ...]:
        """All clients' updates as they are sent, with a stream for each: what `release` makes of each one by itself.

        Override it where clients have to agree on something first.
        """
        return tuple(self.release(update, rng) for update, rng in zip(updates, rngs, strict=True))

    def aggregate(self, updates: tuple[Update, ...], rng: Generator) -> Aggregate:
        """What the server has after the round, given the released update of every client that did not drop out of it.

        Raises: AbortedError, if too few are left.
        """
        return Aggregate(weighted_mean(updates), seen=updates)

    def message(self, update: Update, sent: Message) -> Message:
        """How an update of such shapes, which would go out as `sent`, goes out after this defense, at its longest."""
        return sent

    def bytes_sent(self, update: Update) -> int:
        """Bytes that one client uploads for an update of such shapes: 32-bit numbers unless a defense needs fewer or more."""
        return self.message(update, dense_message(update)).length()

    def expected(self, step: Params, observed: Params) -> Params:
        """What would be seen of an undefended `step`: the model of an attacker who knows the defense.

        `observed` is what was seen, and tells what was withheld. Differentiable in `step` and fit for `torch.func.vmap`;
        what chance adds, it leaves out.
        """
        return step

    def expected_gradient(self, slopes: Slopes) -> Slopes:
        """`slopes`, as a client defended by `train` computes it: the model of an attacker who knows the defense.

        What chance adds, it leaves out.
        """
        return slopes

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """The mean variance of what is added to a tensor's coordinates, a scalar > 0 by name; what is left out has none.

        As far as it can be told from what was seen and, where known, from the recipe and the number of the client's examples.
        """
        return {}

    def guarantee(self, recipe: Recipe, count: int) -> Guarantee | None:
        """The claimed guarantee of one round for a client of `count` examples; None claims nothing."""
        return None

    def why_unclaimed(self) -> str:
        """Why there is no guarantee, where `guarantee` claims nothing."""
        return "nothing here adds noise to what is sent, so nothing bounds what it tells"

    def mixes_clients(self) -> bool:
        """Whether what one client sends depends on what the others hold: on anything that they agree on in `cohort_step`."""
        return type(self).cohort_step is not Defense.cohort_step

    def longest_step(self) -> float | None:
        """The largest L2 norm of a step that `release` sends, whatever it is handed; None where nothing limits it."""
        return None

    def guarantee_for(self, longest: float) -> Guarantee | None:
        """The claimed guarantee of noise on a step whose L2 norm is at most `longest`; None claims nothing."""
        return None


def dense_message(update: Update) -> Message:
    """Every coordinate of the step as a float of 32 bits, and the statistics beside it likewise."""
    return Message(coordinates(update.step), 32, 32 * coordinates(update.buffers))


def coordinates(params: Params) -> int:
    """The number of coordinates of all tensors together."""
    return sum(part.numel() for part in params.values())


def weighted_mean(updates: tuple[Update, ...]) -> Update:
    """The mean of the updates, weighted by their counts, as federated averaging takes it."""
    total = sum(update.count for update in updates)

    def average(parts: list[Params]) -> Params:
        weights = [update.count / total for update in updates]
        return {
            name: sum_of(weight * part[name] for weight, part in zip(weights, parts, strict=True)) for name in parts[0]
        }

    return Update(average([u.step for u in updates]), total, average([u.buffers for u in updates]))
