"""The observed gradient of the classifier: a layer with one output for each class whose outputs, averaged over places where it
has several, are the logits. That is a linear layer, or a convolution of 1x1 before global average pooling.

Whether a layer is the classifier is not read off its name: it is tried on familiar images. Where o_k is what goes into it and
p_k the softmax of example k, its gradient is that of the logits if

    dL/ds_kj = a (p_kj - [y_k = j]) for a shift s_kj of its outputs,    dL/dW_j = sum_k dL/ds_kj mean of o_k over places

with one a > 0, such as 1. Then all rules hold. Where outputs are cut off on their way to the logits, as by SqueezeNet's ReLU
before the pooling, a is another one for each example and class, in [0, 1], and 0 where the class's map is dead: then
only signs tell. A class that was not in the batch is never pulled down; one that was may be hidden.
"""

from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.common.spelling import label_of
from seethrough.defenses import NotApplicableError

from .._base import View
from ..parts.played_model import played_model
from ..parts.rounds import rounds_of
from ..parts.simulated_client import PROBES, familiar_images, inputs_of, observed_gradient

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRIED = 8  # images
CLOSE = 1e-4  # relative: what two ways to the same slope differ by in float32


@dataclass(frozen=True, eq=False)
class Classifier:
    """logits = `weight` features + `bias` + what it does not depend on, with what was seen of the loss's slopes in both."""

    count: int  # examples over which the loss is averaged
    weight: Tensor  # [classes, features]
    bias: Tensor  # [classes]; zero where the layer has none
    weight_slopes: Tensor  # [classes, features]; zero where they are not sent
    bias_slopes: Tensor | None  # [classes]; None where the layer has no bias, or it is not sent
    weight_name: str  # of the parameter in the model
    bias_name: str
    name: str = ""  # of the layer in the model
    linear: bool = True  # whether slopes are those of the logits; else only signs tell
    alone: bool = True  # whether nothing is added to its outputs
    signed_rows: bool = True  # whether rows of dL/dW go below zero only by examples of their class, for features >= 0
    exact_rows: bool = True  # whether rows of dL/dW are sums of dL/db_j times the features of each example

    def parameter(self, kind: str) -> str:
        """The name of its `weight` or `bias` in the model."""
        return self.weight_name if kind == "weight" else self.bias_name

    def row_sums(self) -> Tensor:
        """The sum of each class's row of dL/dW [classes]: for features >= 0 dL/db times a positive number, about."""
        return self.weight_slopes.sum(dim=1)

    def row_minima(self) -> Tensor:
        """The smallest entry of each class's row of dL/dW [classes]: below zero, for features >= 0, only where it was."""
        return self.weight_slopes.amin(dim=1)


def observed_classifier(view: View) -> Classifier:
    """The classifier of the view's model, in the round at hand, with the slopes as they were observed.

    Raises: NotApplicableError, if no layer with an output a class is one, or none that trains; NotGrantedError, if `count` is
    withheld.
    """
    view.need("count")
    if view.recipe is not None and not view.recipe.loss.signs_tell:
        raise NotApplicableError(
            f"slopes of the clients' loss ({label_of(view.recipe.loss)}) do not tell by their signs which classes were there"
        )
    view = rounds_of(view)[-1]
    sized = [name for name, layer in view.model.named_modules() if _outputs(layer) == view.space.classes]
    if not sized:
        raise NotApplicableError(
            f"the model has no linear layer of {view.space.classes} outputs to read labels from, nor a 1x1 convolution"
        )
    names = {id(parameter): name for name, parameter in view.model.named_parameters()}
    layers = {name: view.model.get_submodule(name) for name in reversed(sized)}
    sent = {
        name: layer
        for name, layer in layers.items()
        if any(names.get(id(each)) in view.update for each in layer.parameters(recurse=False))
    }
    found: dict[str, _Tried] = {}
    for name in sent or layers:
        if (tried := _tried(view, name)) is not None:
            found[name] = tried
            if tried.linear:
                break
    if not found:
        raise NotApplicableError(
            f"the outputs of the model's last layer of {view.space.classes} (`{sized[-1]}`) are not the logits, nor these but "
            "for a ReLU, so its gradient tells no labels"
        )
    if not sent:
        raise NotApplicableError(
            f"the model's classifier (`{sized[-1]}`) does not train, so nothing is sent that labels could be read from"
        )
    name = next((name for name, each in found.items() if each.linear), next(iter(found)))
    layer, tried = layers[name], found[name]
    weight = cast(Tensor, layer.weight).detach().flatten(1) * tried.factor
    bias = weight.new_zeros(len(weight)) if layer.bias is None else cast(Tensor, layer.bias).detach() * tried.factor
    slopes = {each: part / tried.factor for each, part in observed_gradient(view).items()}
    weight_name, bias_name = (
        names.get(id(getattr(layer, kind)), f"{name}.{kind}" if name else kind) for kind in ("weight", "bias")
    )
    return Classifier(
        count=cast(int, view.count),
        weight=weight,
        bias=bias,
        weight_slopes=slopes[weight_name].flatten(1) if weight_name in slopes else torch.zeros_like(weight),
        bias_slopes=slopes.get(bias_name),
        weight_name=weight_name,
        bias_name=bias_name,
        name=name,
        linear=tried.linear,
        alone=tried.alone,
        signed_rows=tried.signed_rows and weight_name in slopes,
        exact_rows=tried.exact_rows,
    )


def _outputs(layer: nn.Module) -> int:
    """How many outputs a layer has that may be a classifier; 0 for any other."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    pointwise = isinstance(layer, CONVOLUTIONS) and set(layer.kernel_size) == {1} and layer.groups == 1
    return layer.out_channels if isinstance(layer, CONVOLUTIONS) and pointwise else 0


@dataclass(frozen=True)
class _Tried:
    """What becomes of a layer's outputs on their way to the loss."""

    linear: bool
    alone: bool
    signed_rows: bool
    exact_rows: bool
    factor: float  # the logits are so many times its outputs


def _tried(view: View, name: str) -> _Tried | None:
    """What trying a layer shows; None, where signs of its slopes tell nothing of labels."""
    images = familiar_images(view)[:TRIED]
    model = played_model(view.model).requires_grad_(False)
    layer = model.get_submodule(name)
    weight = cast(Tensor, layer.weight).requires_grad_()
    shift = torch.zeros(len(images), view.space.classes, device=images.device, requires_grad=True)
    met: list[Tensor] = []
    layer.register_forward_hook(partial(_shifted, met, shift))
    linear, signed, exact, factors = True, True, True, []
    for label in (0, view.space.classes - 1):
        met.clear()
        labels = torch.full((len(images),), label, device=images.device)
        with torch.enable_grad():
            logits = model(images)
            wanted = logits.detach().softmax(dim=1) - F.one_hot(labels, view.space.classes)
            slopes, in_rows = torch.autograd.grad(
                F.cross_entropy(logits, labels, reduction="sum"), (shift, weight), materialize_grads=True
            )
        if len(met) != 1:  # it took no part, or several times
            return None
        rounding = CLOSE * wanted.abs().max()
        features = _pooled(layer, met[0])
        absent = torch.arange(view.space.classes, device=images.device) != label
        if bool((slopes[:, absent] < -rounding).any()) or bool((slopes[:, label] > rounding).any()):
            return None
        factor = float((slopes * wanted).sum() / wanted.square().sum())
        factors.append(factor)
        signed = signed and bool((in_rows[absent] >= -CLOSE * in_rows.abs().max()).all())
        linear = linear and factor > 0 and bool(((slopes - factor * wanted).abs() <= factor * rounding).all())
        told = slopes.T @ features
        exact = exact and bool(((in_rows.flatten(1) - told).abs() <= CLOSE * told.abs().max()).all())
    linear = linear and abs(factors[0] - factors[1]) <= CLOSE * factors[0]
    factor = factors[0] if linear else 1.0
    factor = 1.0 if abs(factor - 1) <= CLOSE else factor
    return _Tried(linear, _alone(layer, features, logits, factor), signed, exact, factor)


def _shifted(met: list[Tensor], shift: Tensor, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """A layer's output, each example's moved by its row of `shift` at every place."""
    met.append(inputs[0].detach())
    axis = 1 if isinstance(layer, CONVOLUTIONS) else output.dim() - 1
    return output + shift.view(len(shift), *(-1 if each == axis else 1 for each in range(1, output.dim())))


def _alone(layer: nn.Module, features: Tensor, logits: Tensor, factor: float) -> bool:
    """Whether the softmax of its outputs is that of the logits."""
    outputs = (
        F.linear(features, cast(Tensor, layer.weight).detach().flatten(1), cast(Tensor | None, layer.bias)) * factor
    )
    return bool(torch.allclose(outputs.softmax(dim=1), logits.detach().softmax(dim=1), atol=1e-5))


def _pooled(layer: nn.Module, inputs: Tensor) -> Tensor:
    """What goes into a layer, averaged over places: [n, features]."""
    if isinstance(layer, CONVOLUTIONS):
        return inputs.flatten(2).mean(dim=2)
    return inputs.flatten(1, -2).mean(dim=1) if inputs.dim() > 2 else inputs


def features_of(view: View, classifier: Classifier, images: Tensor) -> Tensor:
    """What goes into the classifier [n, features], averaged over places, for images [n, *shape] taken as one batch."""
    return _pooled(view.model.get_submodule(classifier.name), inputs_of(view, classifier.name, images))


def need_positive_features(view: View, classifier: Classifier) -> None:
    """Raises: NotApplicableError, if familiar images have features below zero, or dL/dW is not the classifier's alone, so that
    its signs tell nothing."""
    features = inputs_of(view, classifier.name, familiar_images(view)[:PROBES])
    if bool((features < 0).any()):
        share = float((features < 0).float().mean())
        raise NotApplicableError(
            f"the rule supposes features that are never negative, and {share:.0%} of the classifier's inputs are below zero"
        )
    if not classifier.signed_rows:
        raise NotApplicableError(
            f"the rule reads the gradient of the classifier's weight (`{classifier.weight_name}`), which is not sent, or is "
            "that of something else too"
        )
