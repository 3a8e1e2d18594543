"""Per-sample gradients, and their clipped, noised mean: Opacus' own parts, apart from its training loop.

Each example goes through the model alone, so its gradient cannot depend on the others whatever the model does. Opacus'
`GradSampleModule` computes the same (the tests compare them), but its hooks are inert in eval mode, and they forbid
models that work in place on a layer's output, such as the residual sums of torchvision's ResNets (Opacus issue 828).
"""

import copy
import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from seethrough.recipes.losses import Loss
from seethrough.recipes.trainable import trained

from .._base import Batch, NotApplicableError, Params

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer

Clipped = Literal["flat", "per_layer"]


def per_sample_gradients(model: nn.Module, batch: Batch, loss: Loss) -> Params:
    """The gradient of each example's loss, [n, *parameter] for each parameter that trains, in the model's mode.

    Raises: NotApplicableError, if an example's gradient would depend on the rest of its batch or on chance, or its loss does.
    """
    from opacus.grad_sample.functorch import ft_compute_per_sample_gradient  # slow to import, and wanted only here

    for name, layer in model.named_modules():
        _refuse_mixing(name, layer)
    private = _with_constants_for_buffers(model)
    aliases = _untie(private)
    with warnings.catch_warnings():
        # Attention has no batching rule of its own in torch.func, and is looped over: slower, not different.
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        try:
            logits = torch.vmap(lambda image: private(image.unsqueeze(0)).squeeze(0))(batch.inputs).detach()
            slopes = _slopes_of(loss, logits, batch.labels)
            found = ft_compute_per_sample_gradient(private, [batch.inputs], slopes)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise NotApplicableError(_no_batched_form(model, error)) from error
    slopes_of = {name: found[parameter].detach() for name, parameter in trained(private).items()}
    for alias, name in aliases.items():
        if alias in slopes_of:
            slopes_of[name] = slopes_of[name] + slopes_of.pop(alias)
    return slopes_of


def _slopes_of(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """The slope of each example's own loss in its logits, [n, classes]. Raises: NotApplicableError."""
    leaf = logits.clone().requires_grad_()
    with torch.enable_grad():
        alone = [loss(leaf[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
        (each,) = torch.autograd.grad(torch.stack(alone).sum(), leaf)
        (together,) = torch.autograd.grad(loss(leaf, labels), leaf)
    finite = each.isfinite() & together.isfinite()
    if not torch.allclose(each[finite] / len(labels), together[finite], rtol=1e-3, atol=1e-7):
        raise NotApplicableError(
            "per-sample gradients are undefined under a loss that is not the mean of its examples' losses, such as one with "
            "class_weights, which divides by the weights of the others"
        )
    return each


def clipped_noised_mean(
    samples: Params,
    drawn: Tensor,
    expected: float,
    noise_multiplier: float,
    max_grad_norm: float,
    clipping: Clipped,
    rng: Generator,
) -> Params:
    """(Sum of clipped samples + N(0, (noise_multiplier * max_grad_norm)^2)) / expected, for samples [n, *parameter].

    An example that is not `drawn` (bool [n]) counts as zero, and so does one whose gradient is not finite: one NaN would
    otherwise pass through clipping and noise. Computed where `rng` draws.
    """
    vectors = {name: sample.reshape(len(sample), -1).to(rng.device) for name, sample in samples.items()}
    kept = drawn & torch.stack([vector.isfinite().all(dim=1) for vector in vectors.values()]).all(dim=0)
    held = {name: nn.Parameter(torch.zeros_like(vector[0])) for name, vector in vectors.items()}
    optimizer = _optimizer(list(held.values()), max_grad_norm, clipping)(
        noise_multiplier=noise_multiplier, expected_batch_size=expected, generator=rng
    )
    for name, parameter in held.items():
        parameter.grad_sample = torch.where(kept[:, None], vectors[name], 0.0)  # type: ignore[attr-defined]
    optimizer.pre_step()
    return {name: parameter.grad.view_as(samples[name][0]) for name, parameter in held.items()}  # type: ignore[union-attr]


def _optimizer(held: list[nn.Parameter], max_grad_norm: float, clipping: Clipped) -> "Callable[..., DPOptimizer]":
    """Opacus' optimizer of vectors: its clipping by layers would take the scalars of all examples for one gradient."""
    from opacus.optimizers import DPOptimizer, DPPerLayerOptimizer  # slow to import, and wanted only here

    if clipping == "flat":
        return partial(DPOptimizer, torch.optim.SGD(held, lr=1.0), max_grad_norm=max_grad_norm)
    shares = [max_grad_norm / math.sqrt(len(held))] * len(held)
    return partial(DPPerLayerOptimizer, torch.optim.SGD(held, lr=1.0), max_grad_norm=shares)


def _refuse_mixing(name: str, layer: nn.Module) -> None:
    if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
        raise NotApplicableError(
            f"per-sample gradients are undefined under batch statistics: BatchNorm layer `{name}` normalizes each "
            "example by the others; use eval mode (frozen statistics), or set fix_batchnorm: true in the setting, which puts "
            "GroupNorm in its place"
        )
    if isinstance(layer, _DropoutNd) and layer.training and layer.p > 0:
        raise NotApplicableError(
            f"per-sample gradients cannot be repeated under chance: dropout layer `{name}` draws at each pass; "
            "use eval mode or a model without dropout"
        )


def _untie(model: nn.Module) -> dict[str, str]:
    """Give each layer of `model` a parameter of its own where several share one, which Opacus' functional form loses; their
    gradients add up to that of the shared one. By the new parameters' names, the name of the one that they were."""
    first: dict[int, str] = {}
    aliases = {}
    for path, layer in model.named_modules():
        for kind, parameter in list(layer.named_parameters(recurse=False)):
            name = f"{path}.{kind}" if path else kind
            if first.setdefault(id(parameter), name) != name:
                aliases[name] = first[id(parameter)]
                setattr(layer, kind, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))
    return aliases


def _no_batched_form(model: nn.Module, error: RuntimeError) -> str:
    """Why Opacus' gradients by torch.func, and with them DP-SGD, are not to be had of `model`."""
    recurrent = [name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase)]
    cause = f"recurrent layer `{recurrent[0]}`: " if recurrent else ""
    reason = " ".join(str(error).split())
    return (
        f"per-sample gradients cannot be taken of this model by torch.func, as Opacus takes them ({cause}{reason:.150}); "
        "use layers and operations that torch.func.vmap can batch"
    )


def _with_constants_for_buffers(model: nn.Module) -> nn.Module:
    """A copy of `model` whose buffers are plain attributes: Opacus takes any buffer for a statistic of the batch. InstanceNorm
    that trains does not use its own, and would write them in place."""
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        if isinstance(layer, _InstanceNorm) and layer.training:
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            layer.track_running_stats = False
        for name, buffer in list(layer.named_buffers(recurse=False)):
            delattr(layer, name)
            setattr(layer, name, buffer)
    return copied
