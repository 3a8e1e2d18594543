"""Distances between the step that was observed and the step that a candidate would have produced.

Each is a function of the observed step, and gives one of another step with the same names to a scalar >= 0: what depends on
the observed step alone is computed once. All but `layerwise_l2` ignore the scale that both share, so a learning rate known to
both drops out.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from seethrough.defenses import Params

Distance = Callable[[Params], Tensor]


def squared_l2(seen: Params) -> Distance:
    """||sent - seen||^2 / ||seen||^2, the distance of DLG (Zhu, Liu, Han, NeurIPS 2019, equation 4) relative to the target."""
    length = _square_length(seen)
    return lambda sent: _total(sent, seen, lambda a, b: (a - b).square().sum()) / length


def relative_l1(seen: Params) -> Distance:
    """sum |sent - seen| / sum |seen|."""
    return standardized_l1(seen, {name: part.new_ones(()) for name, part in seen.items()})


def cosine(seen: Params) -> Distance:
    """1 - <sent, seen> / (||sent|| ||seen||), in [0, 2] (Geiping et al., NeurIPS 2020, equation 4)."""
    length = _square_length(seen)

    def distance(sent: Params) -> Tensor:
        product, own = _Products.apply(*(seen[name] for name in seen), *(sent[name] for name in seen))
        return 1 - product / (own * length + _TINY).sqrt()

    return distance


def layerwise_cosine(seen: Params, weights: Params) -> Distance:
    """sum over parameter tensors of weight * (1 - cosine of sent_l and seen_l)."""
    parts = {name: cosine({name: part}) for name, part in seen.items()}
    return lambda sent: torch.stack([weights[name] * part(sent) for name, part in parts.items()]).sum()


def layerwise_l2(seen: Params) -> Distance:
    """sum over parameter tensors of ||sent_l - seen_l||_2, not squared (Yin et al., CVPR 2021, equation 3)."""
    return lambda sent: _total(sent, seen, lambda a, b: ((a - b).square().sum() + _TINY).sqrt())


def standardized_l1(seen: Params, scales: Params) -> Distance:
    """sum |sent - seen| / scale, relative to sum |seen| / scale, with one scale for each coordinate (or tensor)."""
    shares = {name: 1 / scales[name] for name in seen}
    length = torch.stack([(part * shares[name]).abs().sum() for name, part in seen.items()]).sum()

    def distance(sent: Params) -> Tensor:
        apart = [_Apart.apply(sent[name], part, shares[name])[0] for name, part in seen.items()]
        return torch.stack(apart).sum() / length

    return distance


def standardized_l2(seen: Params, variances: Params) -> Distance:
    """The mean over coordinates of (sent - seen)^2 / variance, with one variance for each parameter tensor."""
    size = sum(step.numel() for step in seen.values())

    def distance(sent: Params) -> Tensor:
        parts = [(sent[name] - seen[name]).square().sum() / variances[name] for name in seen]
        return torch.stack(parts).sum() / size

    return distance


def error_variances(sent: Params, seen: Params) -> Params:
    """The mean square of sent - seen over each parameter tensor, and no less than rounding to float32 leaves of `seen`."""
    size = sum(step.numel() for step in seen.values())
    rounding = torch.finfo(torch.float32).eps ** 2 * _square_length(seen) / size
    return {name: (sent[name] - step).square().mean() + rounding + _TINY for name, step in seen.items()}


_TINY = 1e-30  # keeps the slope of a square root finite at zero


def _total(left: Params, right: Params, term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return torch.stack([term(left[name], right[name]) for name in right]).sum()


def _square_length(step: Params) -> Tensor:
    return _total(step, step, lambda a, b: (a * b).sum())


class _Products(Function):
    """<sent, seen> and <sent, sent>, of all tensors together: with one pass back over each."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        seen, sent = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        product = torch.stack([(a * b).sum() for a, b in zip(seen, sent, strict=True)]).sum()
        return product, torch.stack([(part * part).sum() for part in sent]).sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, of_product: Tensor, of_length: Tensor) -> tuple[Tensor | None, ...]:
        tensors, twice = ctx.saved_tensors, 2 * of_length
        seen, sent = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        slopes = [torch.addcmul(a * of_product, b, twice) for a, b in zip(seen, sent, strict=True)]
        return *(None for _ in seen), *slopes


class _Apart(Function):
    """sum share * |sent - seen|, whose slope is found on the way."""

    generate_vmap_rule = True

    @staticmethod
    def forward(sent: Tensor, seen: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        apart = sent - seen
        slope = apart.sign() * share
        return (apart * slope).sum(), slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, of_sum: Tensor, of_slope: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * of_sum, None, None
