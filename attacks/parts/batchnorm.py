"""What a model's BatchNorm layers remember of the data, as a penalty on a batch of images."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seethrough.defenses import Params

from .._base import View
from .played_model import played_model

Measure = Callable[[Tensor], Params]


def are_running(view: View) -> bool:
    """Whether the statistics that the view holds are the running ones of its model, not those of a batch."""
    known = dict(view.model.named_buffers())
    return view.buffers is not None and all(
        name in known and torch.equal(known[name], part) for name, part in view.buffers.items()
    )


def batch_statistics(model: nn.Module) -> Measure:
    """The function from images [n, *shape] to the statistics that they leave at each BatchNorm layer of `model`.

    Under "<layer>.running_mean" and "<layer>.running_var", in the order of the layers: the mean and the biased variance
    of the layer's input, by channel. Differentiable, and fit for `torch.func.vmap`.
    """
    frozen = played_model(model).requires_grad_(False)
    seen: dict[str, Tensor] = {}

    def recorder(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rest = [dimension for dimension in range(inputs[0].dim()) if dimension != 1]
            seen[f"{name}.running_mean"] = inputs[0].mean(rest)
            seen[f"{name}.running_var"] = inputs[0].var(rest, correction=0)

        return record

    for name, layer in frozen.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(recorder(name))

    def measure(images: Tensor) -> Params:
        seen.clear()
        frozen(images)
        return dict(seen)

    return measure


def statistics_distance(measured: Params, known: Params, first: float = 1.0) -> Tensor:
    """sum over layers of ||mean - known mean||_2 + ||variance - known variance||_2; `first` multiplies the first layer's.

    The R_BN of Yin et al., CVPR 2021, taken from DeepInversion (Yin et al., CVPR 2020, equation 4), whose code gave the
    first layer ten times the weight of the others.
    """
    distances = torch.stack([torch.linalg.vector_norm(measured[name] - known[name]) for name in measured])
    weights = distances.new_tensor([first, first] + [1.0] * (len(distances) - 2))
    return (weights * distances).sum()
