"""The observed gradient of the classifier: the last linear layer with one output for each class."""

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from seethrough.defenses import NotApplicableError

from .._base import View
from ..parts.adaptive import clients_behind, keeps_direction, noise_variances
from ..parts.rounds import rounds_of
from ..parts.simulated_client import (
    PROBES,
    familiar_images,
    inputs_of,
    observed_gradient,
    update_scale,
)


@dataclass(frozen=True, eq=False)
class Classifier:
    """logits = `weight` features + `bias`, with what was seen of the loss's slopes in both."""

    count: int  # examples over which the loss is averaged
    weight: Tensor  # [classes, features]
    bias: Tensor  # [classes]; zero where the layer has none
    weight_slopes: Tensor  # [classes, features]
    bias_slopes: Tensor | None  # [classes]; None where the layer has no bias
    name: str = ""  # of the layer in the model

    def parameter(self, kind: str) -> str:
        """The name of its `weight` or `bias` in the model."""
        return f"{self.name}.{kind}" if self.name else kind

    def row_sums(self) -> Tensor:
        """The sum of each class's row of dL/dW [classes]: for features >= 0 dL/db times a positive number, about."""
        return self.weight_slopes.sum(dim=1)

    def row_minima(self) -> Tensor:
        """The smallest entry of each class's row of dL/dW [classes]: below zero, for features >= 0, only where it was."""
        return self.weight_slopes.amin(dim=1)


def observed_classifier(view: View) -> Classifier:
    """The classifier of the view's model, in the round at hand, with the slopes as they were observed.

    Raises: NotApplicableError, if it has no linear layer with an output a class, or none that trains; NotGrantedError, if
    `count` is withheld.
    """
    view.need("count")
    view = rounds_of(view)[-1]
    linear = [
        (name, layer)
        for name, layer in view.model.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == view.space.classes
    ]
    if not linear:
        raise NotApplicableError(f"the model has no linear layer of {view.space.classes} outputs to read labels from")
    sent = [(name, layer) for name, layer in linear if (f"{name}.weight" if name else "weight") in view.update]
    if not sent:
        raise NotApplicableError(
            f"the model's classifier (`{linear[-1][0]}`) does not train, so nothing is sent that labels could be read from"
        )
    name, layer = sent[-1]
    weight = layer.weight.detach()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    found = Classifier(cast(int, view.count), weight, bias, weight, None, name)
    slopes = observed_gradient(view)
    return replace(
        found, weight_slopes=slopes[found.parameter("weight")], bias_slopes=slopes.get(found.parameter("bias"))
    )


def need_positive_features(view: View, classifier: Classifier) -> None:
    """Raises: NotApplicableError, if familiar images have features below zero, so that signs in dL/dW tell nothing."""
    features = inputs_of(view, classifier.name, familiar_images(view)[:PROBES])
    if bool((features < 0).any()):
        share = float((features < 0).float().mean())
        raise NotApplicableError(
            f"the rule supposes features that are never negative, and {share:.0%} of the classifier's inputs are below zero"
        )


def output_error(view: View) -> Tensor | None:
    """The slopes [1, classes] of a single example's loss in its logits, softmax - one-hot, up to a positive scale.

    The update of one step tells them exactly, as dL/db. None, where the model has no such bias, where the update may stand
    for more than one example or step, or where the defense is known to do more to it than to change its length, or seems to,
    most of the slopes being zero, which a softmax is nowhere but by rounding.
    """
    if view.count != 1 or clients_behind(view) > 1 or (view.recipe is not None and view.recipe.steps > 1):
        return None
    try:
        slopes = observed_classifier(view).bias_slopes
    except NotApplicableError:
        return None
    if slopes is None or float((slopes == 0).float().mean()) > 0.5 or not keeps_direction(view):
        return None
    return slopes[None]


def sign_pulls(view: View, classifier: Classifier) -> Tensor:
    """dL/db [classes], below zero where the class was in the batch, or the row sums where the classifier has no bias.

    Raises: NotApplicableError, if it has none and features may be negative.
    """
    if classifier.bias_slopes is None:
        need_positive_features(view, classifier)
        return classifier.row_sums()
    return read_pulls(rounds_of(view)[-1], classifier).mean.to(classifier.weight)


@dataclass(frozen=True, eq=False)
class Pulls:
    """dL/db as far as it was seen, of each class; on the CPU."""

    mean: Tensor  # float64 [classes]
    variance: Tensor  # float64 [classes], of its error; 0 where it is exact, infinite where nothing of a class was sent


def read_pulls(view: View, found: Classifier, features: Tensor | None = None) -> Pulls:
    """dL/db, or where it is noisy, not sent, or the layer has no bias, its mean with what the weights' slopes say of it, by
    inverse variance; in a view of one round. `features` [n, features] are those of familiar images, computed if not given.

    dL/dW_j is dL/db_j times the features of the examples, so <dL/dW_j, f> / |f|^2 is dL/db_j for features near their mean f.
    That is less exact where nothing was done to the update, but it outlives noise, and a bias that was not sent.
    """
    noise, scale = noise_variances(view), update_scale(view)
    if not noise and found.bias_slopes is not None and (view.defense is None or bool((found.bias_slopes != 0).all())):
        exact = found.bias_slopes.cpu().double()
        return Pulls(exact, torch.zeros_like(exact))
    zero = torch.zeros(())
    in_weights, in_bias = (float(noise.get(found.parameter(kind), zero)) / scale**2 for kind in ("weight", "bias"))
    features = inputs_of(view, found.name, familiar_images(view)) if features is None else features
    slopes, features = found.weight_slopes.cpu().double(), features.cpu().double()
    mean = features.mean(dim=0)
    squares = ((slopes != 0) * mean.square()).sum(dim=1)
    said = (slopes * mean).sum(dim=1) / squares.clamp(min=TINY)
    length = said.square().mean() + TINY
    spread = (features @ mean / mean.square().sum().clamp(min=TINY)).var() + (UNFAMILIAR if view.public is None else 0)
    trust = torch.where(squares > 0, 1 / (in_weights / squares.clamp(min=TINY) + spread * length + TINY), 0.0)
    told = trust * said
    if found.bias_slopes is not None:
        sent = found.bias_slopes.cpu().double()
        more = torch.where(sent != 0, 1 / (in_bias + EXACT * length), 0.0)
        trust, told = trust + more, told + more * sent
    return Pulls(told / trust.clamp(min=TINY), 1 / trust)


UNFAMILIAR = 0.1  # relative variance of features along the mean of random images' ones, beside that of these
EXACT = 1e-12  # relative variance of what was sent without noise
TINY = 1e-100
