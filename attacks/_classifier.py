"""The observed gradient of the classifier: the last linear layer with one output for each class."""

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from attacks._adaptive import clients_behind, keeps_direction, noise_variances
from attacks._base import View
from attacks._replay import familiar_images, inputs_of, observed_gradient, update_scale
from attacks._rounds import rounds_of
from defenses import NotApplicableError


@dataclass(frozen=True, eq=False)
class Classifier:
    """logits = `weight` features + `bias`, with what was seen of the loss's slopes in both."""

    count: int  # examples over which the loss is averaged
    weight: Tensor  # [classes, features]
    bias: Tensor  # [classes]; zero where the layer has none
    weight_slopes: Tensor  # [classes, features]
    bias_slopes: Tensor | None  # [classes]; None where the layer has no bias

    def pulls(self) -> Tensor:
        """How far each class's row is pulled [classes]: dL/db, which is exact, or else the row sums of dL/dW.

        Below zero where the class was in the batch; the row sums also suppose features that are never negative.
        """
        return self.weight_slopes.sum(dim=1) if self.bias_slopes is None else self.bias_slopes

    def row_minima(self) -> Tensor:
        """The smallest entry of each class's row of dL/dW [classes]: below zero, for features >= 0, only where it was."""
        return self.weight_slopes.amin(dim=1)


def observed_classifier(view: View) -> Classifier:
    """The classifier of the view's model, in the round at hand.

    Raises: NotApplicableError, if it has no linear layer with an output a class; NotGrantedError, if `count` is withheld.
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
    name, layer = linear[-1]
    prefix = f"{name}." if name else ""
    slopes = observed_gradient(view)
    weight = layer.weight.detach()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    found = Classifier(cast(int, view.count), weight, bias, slopes[f"{prefix}weight"], slopes.get(f"{prefix}bias"))
    return found if view.defense is None else _restored(found, view, name)


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


def _restored(found: Classifier, view: View, name: str) -> Classifier:
    """`found`, its bias slopes averaged with what the weights' slopes say of them, by inverse variance.

    dL/dW_j is dL/db_j times the features of the examples, so <dL/dW_j, f> / |f|^2 is dL/db_j for features near their mean f.
    That is less exact where nothing was done to the update, but it outlives noise, and a bias that was not sent.
    """
    noise, scale = noise_variances(view), update_scale(view)
    prefix = f"{name}." if name else ""
    if found.bias_slopes is None or (not noise and bool((found.bias_slopes != 0).all())):
        return found
    features = inputs_of(view, name, familiar_images(view))
    mean = features.mean(dim=0)
    sent = found.weight_slopes != 0
    squares = (sent * mean.square()).sum(dim=1).clamp(min=torch.finfo(mean.dtype).tiny)
    said = (found.weight_slopes * mean).sum(dim=1) / squares
    spread = (features @ mean / mean.square().sum()).var()
    zero = said.new_zeros(())
    in_weights, in_bias = (noise.get(f"{prefix}{part}", zero) / scale**2 for part in ("weight", "bias"))
    trust_weights = 1 / (in_weights / squares + spread * said.square().mean() + torch.finfo(said.dtype).tiny)
    trust_bias = torch.where(found.bias_slopes != 0, 1 / (in_bias + EXACT * said.square().mean()), 0.0)
    slopes = (trust_weights * said + trust_bias * found.bias_slopes) / (trust_weights + trust_bias)
    return replace(found, bias_slopes=slopes)


EXACT = 1e-12  # relative variance of what was sent without noise
