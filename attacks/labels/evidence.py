"""What one round's gradient of the classifier tells of each class, and how far it can be trusted.

Below zero, by more than noise and rounding make, are dL/db_j only if class j was in the batch, and an entry of dL/dW_j, for
features that are never negative, only then too: see `rules.py` for both. How often classes that are there stay
hidden from these signs, and how long an update looks, is learned by playing public images, or random ones, as the batch.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seethrough.defenses import NotApplicableError, Params
from seethrough.recipes import Recipe

from .._base import View
from ..parts.adaptive import as_computed, hides_length, noise_variances
from ..parts.simulated_client import (
    familiar_images,
    familiar_labels,
    simulated_client,
    softmax_of,
    update_scale,
)
from .bias_slopes import Pulls, read_pulls
from .classifier_gradient import Classifier, features_of, observed_classifier

SIMULATIONS = 32  # batches of familiar images that the classifier alone is simulated with
TRAININGS = 8  # and the whole client
CERTAIN = 5.0  # standard deviations of noise; among 1e5 coordinates one goes below by chance in 3 % of updates
CERTAIN_PULL = 3.0  # the same of dL/db, which has one for each class
ROUNDING = 1e-6  # of the largest slope: a smaller one may have either sign by rounding alone
ALL_BUT_EXACT = 1e-24  # variance
HELD_BACK = 0.1  # share of zeros beyond the usual from which on coordinates are taken for not sent


@dataclass(frozen=True, eq=False)
class Familiar:
    """Images that the model can be tried on, and what becomes of them; on the CPU, and float64, but for `images`."""

    images: Tensor  # as the view has them
    features: Tensor  # [n, features]
    softmax: Tensor  # [n, classes]
    labels: Tensor | None  # int64 [n]; None for random images

    def errors(self, chosen: Tensor, labels: Tensor) -> Tensor:
        """The loss's slopes in the logits [len(chosen), classes], were these the images' labels."""
        return self.softmax[chosen] - torch.nn.functional.one_hot(labels, self.softmax.shape[1])


@dataclass(frozen=True)
class Length:
    """How many times too long a gradient may look."""

    mean: float = 0.0  # of the logarithm
    deviation: float = math.inf  # of the logarithm; 0 for a length that is known
    perhaps_right: bool = False  # whether it is as likely to be right as it stands as to be anything else


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one round tells."""

    count: int
    familiar: Familiar
    pulls: Pulls
    least: Tensor  # int64 [classes]: how many examples of each class there were for certain
    hidden: float  # the share of the classes of a batch that `least` misses
    length: Length  # of `pulls`


def evidence_of_labels(view: View) -> Evidence:
    """The evidence of a view of one round. Raises: as `observed_classifier` does, and where only signs of slopes tell."""
    classifier = observed_classifier(view)
    if not classifier.linear:
        raise NotApplicableError(
            "the classifier's outputs are cut off on their way to the logits, so only signs tell labels"
        )
    if classifier.bias_slopes is None and not classifier.exact_rows:
        raise NotApplicableError(
            "the classifier sends no bias, and the gradient of its weight is not that of the logits"
        )
    familiar = _familiar(view, classifier)
    pulls, (length, drift) = read_pulls(view, classifier, familiar.features), _length(view, classifier, familiar)
    pulls = Pulls(pulls.mean, pulls.variance + drift)
    noise = noise_variances(view).get(classifier.parameter("weight"))
    deviation = 0.0 if noise is None else math.sqrt(float(noise)) / update_scale(view)
    slopes = classifier.weight_slopes.cpu().double()
    recipe, hidden = view.recipe or Recipe(), 1.0
    signs = recipe.optimizer.keeps_signs()
    certain = _pulled_down(pulls, recipe.tells_shares() and not recipe.smoothing()) & signs
    exact_rows = classifier.exact_rows and signs and not recipe.smoothing()
    if exact_rows and bool((familiar.features >= 0).all()):
        certain = certain | _reaches_below(slopes, deviation)
        hidden = _hidden_share(familiar, classifier.count, slopes, deviation, length)
    least = _least(view, classifier, pulls, certain, length.deviation == 0)
    if int(least.sum()) > classifier.count:  # no gradient can say so: something unknown was done to it
        least, hidden = torch.zeros_like(least), 1.0
    if not recipe.tells_shares():
        pulls = Pulls(pulls.mean, torch.full_like(pulls.variance, math.inf))
    return Evidence(classifier.count, familiar, pulls, least, hidden, length)


def of_all_rounds(found: list[Evidence]) -> Evidence:
    """What rounds of the same examples tell together, as one whose slopes and softmax are their means: the mean of dL/db, by
    inverse variance, stands for the mean softmax as each dL/db does for its own. What is certain in one round is certain.
    """
    if len(found) == 1:
        return found[0]
    trust = torch.stack([1 / each.pulls.variance.clamp(min=ALL_BUT_EXACT) for each in found])
    total = trust.sum(dim=0)
    told = (trust * torch.stack([each.pulls.mean for each in found])).sum(dim=0)
    exact = all(not bool(each.pulls.variance.any()) for each in found)
    pulls = Pulls(told / total.clamp(min=ALL_BUT_EXACT), torch.zeros_like(total) if exact else 1 / total)
    least = torch.stack([each.least for each in found]).amax(dim=0)
    if int(least.sum()) > found[0].count:  # as in one round
        least = torch.zeros_like(least)
    softmax = torch.stack([each.familiar.softmax for each in found]).mean(dim=0)
    familiar = replace(found[-1].familiar, softmax=softmax)
    hidden = 1.0 if not bool(least.any()) else min(each.hidden for each in found)
    return replace(found[-1], pulls=pulls, least=least, familiar=familiar, hidden=hidden)


def _familiar(view: View, classifier: Classifier) -> Familiar:
    images = familiar_images(view)
    features = features_of(view, classifier, images).cpu().double()
    if classifier.alone:
        softmax = (features @ classifier.weight.cpu().double().T + classifier.bias.cpu().double()).softmax(dim=1)
    else:
        softmax = softmax_of(view, images).cpu().double()
    softmax = softmax / (1 - (view.recipe or Recipe()).smoothing())  # as `read_pulls` undoes it
    return Familiar(images, features, softmax, familiar_labels(view))


def _pulled_down(pulls: Pulls, add_up: bool) -> Tensor:
    """The classes of a dL/db that is surely below zero (bool [classes]); if they `add_up` to zero, one of them is."""
    known = pulls.variance.isfinite()
    largest = float(pulls.mean[known].abs().max()) if bool(known.any()) else 0.0
    certain = known & (pulls.mean < -ROUNDING * largest - CERTAIN_PULL * pulls.variance.sqrt())
    if add_up and largest and not bool(pulls.variance.any()):  # even where a softmax rounds to 1
        certain[pulls.mean.argmin()] = True
    return certain


def _reaches_below(slopes: Tensor, deviation: float) -> Tensor:
    """The classes whose row of dL/dW is surely below zero somewhere (bool [classes])."""
    return slopes.amin(dim=1) < -ROUNDING * slopes.abs().max() - CERTAIN * deviation


def _least(view: View, classifier: Classifier, pulls: Pulls, certain: Tensor, exact: bool) -> Tensor:
    """One example of each certain class; and of one exact step, n_j > -B dL/db_j, since every p_kj is positive."""
    least = certain.long()
    if exact and not bool(pulls.variance.any()):
        slack = 1e-4 * pulls.mean.abs().max()
        least = torch.maximum(least, (-classifier.count * (pulls.mean + slack)).ceil().clamp(min=0).long())
    return least


def _batches(familiar: Familiar, count: int, number: int) -> list[tuple[Tensor, Tensor]]:
    """So many batches: places of familiar images and their labels, random ones where they have none; always the same."""
    fixed, (images, classes) = torch.Generator().manual_seed(0), familiar.softmax.shape
    found = []
    for _ in range(number):
        chosen = torch.randint(images, (count,), generator=fixed)
        guessed = torch.randint(classes, (count,), generator=fixed)
        found.append((chosen, guessed if familiar.labels is None else familiar.labels[chosen]))
    return found


def _hidden_share(familiar: Familiar, count: int, slopes: Tensor, deviation: float, length: Length) -> float:
    """The share of the classes in simulated batches whose rows reach nowhere surely below zero.

    Where less was sent than usual, the same coordinates are held back from the simulated gradients, and those that are smaller
    than any that was sent. Random images with random labels tell signs, not how small gradients get, and nothing tells it of
    gradients of unknown length: 1, where that matters.
    """
    batches = _batches(familiar, count, SIMULATIONS)
    simulated = [familiar.errors(chosen, labels).T @ familiar.features[chosen] / count for chosen, labels in batches]
    usual = sum(float((each == 0).double().mean()) for each in simulated) / len(simulated)
    sent = slopes != 0
    held_back = float((~sent).double().mean()) > usual + HELD_BACK
    if (familiar.labels is None and (held_back or deviation)) or (deviation and math.isinf(length.deviation)):
        return 1.0
    if held_back:
        smallest = float(slopes[sent].abs().min() / torch.linalg.vector_norm(slopes)) if bool(sent.any()) else 1.0
        simulated = [each * sent * (each.abs() >= smallest * torch.linalg.vector_norm(each)) for each in simulated]
    present = [torch.bincount(labels, minlength=slopes.shape[0]) > 0 for _, labels in batches]
    deviation = deviation / math.exp(length.mean)
    missed = [there & ~_reaches_below(each, deviation) for there, each in zip(present, simulated, strict=True)]
    return (float(sum(each.sum() for each in missed)) + 0.5) / (float(sum(each.sum() for each in present)) + 1)


def _length(view: View, classifier: Classifier, familiar: Familiar) -> tuple[Length, float]:
    """Exact for one step of known rate under a known defense that keeps it; anything where something is withheld; and
    otherwise what playing familiar images through the client's training says. With it the variance of what several local
    steps add to dL/db as the weights drift, by the same plays."""

    def untouched(weights: Params, inputs: Tensor, labels: Tensor) -> Params:
        return weights

    if view.recipe is None or (classifier.bias_slopes is None and view.public is None):
        return Length(), 0.0
    if view.defense is None:
        return Length(perhaps_right=True), 0.0
    if (
        view.recipe.is_one_gradient(classifier.count)
        and as_computed(view, untouched) is untouched
        and not hides_length(view)
    ):
        return Length(deviation=0.0), 0.0
    seen, plain = _played(view, classifier, familiar)
    along = (seen * plain).sum(dim=1) / plain.square().sum(dim=1)
    logs, apart = along[along > 0].log(), seen - along.clamp(min=0)[:, None] * plain
    length = Length(float(logs.mean()), float(logs.std()) + LEAST_SPREAD) if len(logs) > 1 else Length()
    return length, 0.0 if view.recipe.is_one_gradient(classifier.count) else float(apart.square().mean())


def _played(view: View, classifier: Classifier, familiar: Familiar) -> tuple[Tensor, Tensor]:
    """What dL/db looks like after the client's training on familiar images, and in one plain step [plays, classes]."""
    client, found = simulated_client(view), []
    for chosen, labels in _batches(familiar, classifier.count, TRAININGS):
        images = familiar.images[chosen.to(familiar.images.device)]
        with torch.no_grad():
            simulated = replace(view, update=client(images, labels.to(images.device)))
        seen = read_pulls(simulated, observed_classifier(simulated), familiar.features).mean
        found.append((seen, familiar.errors(chosen, labels).mean(dim=0)))
    looks, slopes = zip(*found, strict=True)
    return torch.stack(looks), torch.stack(slopes)


LEAST_SPREAD = 0.1
