"""Distances between the step that was observed and the step that a candidate would have produced.

Each distance takes two sets of tensors with the same names and returns a scalar >= 0; all but `layerwise_l2` ignore the
scale that both share, so a learning rate known to both drops out.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from seethrough.defenses import Params

Distance = Callable[[Params, Params], Tensor]


def squared_l2(sent: Params, seen: Params) -> Tensor:
    """||sent - seen||^2 / ||seen||^2, the distance of DLG (Zhu, Liu, Han, NeurIPS 2019, equation 4) relative to the target."""
    return _total(sent, seen, lambda a, b: (a - b).square().sum()) / _total(seen, seen, lambda a, b: (a * b).sum())


def relative_l1(sent: Params, seen: Params) -> Tensor:
    """sum |sent - seen| / sum |seen|."""
    return _total(sent, seen, lambda a, b: (a - b).abs().sum()) / _total(seen, seen, lambda a, b: b.abs().sum())


def cosine(sent: Params, seen: Params) -> Tensor:
    """1 - <sent, seen> / (||sent|| ||seen||), in [0, 2] (Geiping et al., NeurIPS 2020, equation 4)."""
    product = _total(sent, seen, lambda a, b: (a * b).sum())
    lengths = _total(sent, sent, lambda a, b: (a * b).sum()) * _total(seen, seen, lambda a, b: (a * b).sum())
    return 1 - product / (lengths + _TINY).sqrt()


def layerwise_cosine(sent: Params, seen: Params, weights: Params) -> Tensor:
    """sum over parameter tensors of weight * (1 - cosine of sent_l and seen_l)."""
    return torch.stack([weights[name] * cosine({name: sent[name]}, {name: seen[name]}) for name in seen]).sum()


def layerwise_l2(sent: Params, seen: Params) -> Tensor:
    """sum over parameter tensors of ||sent_l - seen_l||_2, not squared (Yin et al., CVPR 2021, equation 3)."""
    return _total(sent, seen, lambda a, b: ((a - b).square().sum() + _TINY).sqrt())


def standardized_l1(sent: Params, seen: Params, scales: Params) -> Tensor:
    """sum |sent - seen| / scale, relative to sum |seen| / scale, with one scale for each coordinate."""
    return relative_l1(*({name: part[name] / scales[name] for name in seen} for part in (sent, seen)))


def standardized_l2(sent: Params, seen: Params, variances: Params) -> Tensor:
    """The mean over coordinates of (sent - seen)^2 / variance, with one variance for each parameter tensor."""
    size = sum(step.numel() for step in seen.values())
    parts = [(sent[name] - seen[name]).square().sum() / variances[name] for name in seen]
    return torch.stack(parts).sum() / size


def error_variances(sent: Params, seen: Params) -> Params:
    """The mean square of sent - seen over each parameter tensor, and no less than rounding to float32 leaves of `seen`."""
    size = sum(step.numel() for step in seen.values())
    rounding = torch.finfo(torch.float32).eps ** 2 * _total(seen, seen, lambda a, b: (a * b).sum()) / size
    return {name: (sent[name] - step).square().mean() + rounding + _TINY for name, step in seen.items()}


_TINY = 1e-30  # keeps the slope of a square root finite at zero


def _total(left: Params, right: Params, term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    return torch.stack([term(left[name], right[name]) for name in right]).sum()
