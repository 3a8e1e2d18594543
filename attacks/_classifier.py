"""The observed gradient of the classifier: the last linear layer with one output for each class."""

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from attacks._base import View
from attacks._replay import observed_gradient
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
    """The classifier of the view's model.

    Raises: NotApplicableError, if it has no linear layer with an output a class; NotGrantedError, if `count` is withheld.
    """
    view.need("count")
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
    return Classifier(cast(int, view.count), weight, bias, slopes[f"{prefix}weight"], slopes.get(f"{prefix}bias"))
