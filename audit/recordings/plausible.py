"""Whether an update can be what its recording says: held against updates that public images make by the recorded recipe.

These differ from it by nothing but the examples, if weights, recipe and number of examples are right. So three numbers are
compared, none of which needs an attack: the length of the step, its likeness to the others, and, for a plain or smoothed
cross-entropy under SGD, the sum of the classifier's bias over the classes, which is zero for every softmax.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from seethrough.defenses import Batch, MeanGradient, Params
from seethrough.federation.client import DivergedError, local_update
from seethrough.recipes import Recipe

from ..randomness import drawing_from, stream
from .withheld import cosine_of

PLAYED = 20  # public batches
ORDERS = 10  # in which a truth is trained on whose own order is not known
LONGER, SHORTER = 3.0, 1 / 3  # times their longest and shortest step
LEAST_UNLIKE = 0.05  # of cosine, or the range of public batches' likeness to each other, below the least of these
ROUNDING = 2**-23  # of a weight, at each step
UNBALANCED = 1e-2  # of the largest bias: what rounding leaves of a sum that is zero


def implausible(
    where: str,
    model: nn.Module,
    step: Params,
    recipe: Recipe,
    count: int,
    public: Batch,
    known: bool,
    truth: Batch | None,
) -> Iterator[str]:
    """One sentence for each thing that cannot be as recorded; `known` says whether the recipe was recorded."""
    if known:
        yield from _unbalanced(where, model, step, recipe, count)
    played = steps_of_public(model, recipe, count, public, PLAYED)
    if len(played) < 3:
        return
    lengths, own = [_length(each) for each in played], _length(step)
    if known and not SHORTER * min(lengths) <= own <= LONGER * max(lengths):
        yield (
            f"{where}: the step has length {own:.3g}, and those of {len(played)} public batches, trained from these "
            f"weights by this recipe, {min(lengths):.3g} to {max(lengths):.3g}: the learning rate, the number of "
            "steps or of examples, or the weights are others than recorded, or something was done to the update; "
            "attacks that rely on them find less than there is."
        )
    likeness = [_likeness(each, played[:place] + played[place + 1 :]) for place, each in enumerate(played)]
    own_likeness, least = _likeness(step, played), min(likeness)
    if own_likeness < least - max(max(likeness) - least, LEAST_UNLIKE):
        yield (
            f"{where}: the step has a mean cosine of {own_likeness:.3f} with those of public batches, which have "
            f"{least:.3f} to {max(likeness):.3f} with each other: it does not look like training from these weights "
            "(of another round or model, or the weights before and after exchanged), or the images, or how "
            "their labels are mixed, are of another kind."
        )
    if truth is not None:
        yield from _of_truth(where, model, step, recipe, truth, played, known)


def steps_of_public(model: nn.Module, recipe: Recipe, count: int, public: Batch, number: int) -> list[Params]:
    """The steps of so many batches of public images, but for those whose training diverges."""
    found = []
    for place in range(number):
        chosen = torch.randint(len(public), (count,), generator=stream(place, "public batch"))
        found.append(trained_step(model, Batch(public.inputs[chosen], public.labels[chosen]), recipe, place))
    return [step for step in found if step is not None]


def trained_step(model: nn.Module, batch: Batch, recipe: Recipe, number: int) -> Params | None:
    """The step of a client who holds this batch; None where its training diverges."""
    with drawing_from(stream(number, "chance")):  # what dropout draws
        try:
            return local_update(model, batch, recipe, MeanGradient(recipe.loss), stream(number, "public client")).step
        except DivergedError:
            return None


def _of_truth(
    where: str, model: nn.Module, step: Params, recipe: Recipe, truth: Batch, played: Sequence[Params], known: bool
) -> Iterator[str]:
    replayed = _orders_of(model, truth, recipe)
    if not replayed:
        return
    alike, best = (max(cosine_of(each, step) for each in steps) for steps in (replayed, played))
    ratio = _length(step) / max(_length(replayed[0]), 1e-30)
    if alike <= best:
        yield (
            f"{where}: the truth, trained from the recorded weights, gives a step of cosine {alike:.3f} with what was "
            f"sent, no more than the best of {len(played)} public batches ({best:.3f}): it seems to be the truth of "
            "another update, or weights and update do not belong together; then scores against it say nothing."
        )
    elif known and not recipe.shuffle and (alike < 0.99 or not 0.9 < ratio < 1.1):
        yield (
            f"{where}: the truth, trained by the recorded recipe, gives a step of cosine {alike:.3f} with what was "
            f"sent, which is {ratio:.3g} times as long: the recipe is not quite the client's, or something was done "
            "to the update."
        )


def _orders_of(model: nn.Module, truth: Batch, recipe: Recipe) -> list[Params]:
    """The step of the truth; where the client shuffled it into several batches, those of some orders and their mean, since
    that of one other order than the client's can be as far from the client's as other examples are."""
    orders = ORDERS if recipe.shuffle and recipe.taken(len(truth)) > 1 else 1
    steps = [step for each in range(orders) if (step := trained_step(model, truth, recipe, each)) is not None]
    if len(steps) < 2:
        return steps
    return [*steps, {name: torch.stack([step[name] for step in steps]).mean(dim=0) for name in steps[0]}]


def _unbalanced(where: str, model: nn.Module, step: Params, recipe: Recipe, count: int) -> Iterator[str]:
    """For a softmax the slopes in the logits add up to zero, and so does what is a sum of them."""
    linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or not recipe.tells_shares() or f"{linear[-1][0]}.bias" not in step:
        return
    if recipe.proximal or recipe.optimizer.decayed((1.0,)):
        return  # they pull each weight by itself
    bias, start = step[f"{linear[-1][0]}.bias"].double(), linear[-1][1].bias.detach().double()
    rounding = ROUNDING * recipe.taken(count) * float((start.abs() + bias.abs()).sum())
    if abs(float(bias.sum())) > UNBALANCED * float(bias.abs().sum()) + rounding:
        yield (
            f"{where}: the step of the classifier's bias adds up to {float(bias.sum()):.3g} over the classes where "
            f"its entries reach {float(bias.abs().max()):.3g}, which SGD of a cross-entropy never does: another loss "
            "or optimizer, an update that does not belong to these weights, or something done to it."
        )


def _length(step: Params) -> float:
    return math.sqrt(sum(float(part.double().square().sum()) for part in step.values()))


def _likeness(step: Params, others: Sequence[Params]) -> float:
    """The mean cosine of a step with others."""
    return math.fsum(cosine_of(step, other) for other in others) / len(others)
