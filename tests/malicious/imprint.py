"""Robbing the Fed: an imprint module in front of a network (Fowl, Geiping, Czaja, Goldblum, Goldstein, ICLR 2022,
arXiv:2110.13057, section 3).

All rows of its first layer measure the same scalar; biases cut that scalar into bins. The second layer gives every bin the
same weight, so that the slopes of two neighboring bins differ by the examples between them alone.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn


class Imprinted(nn.Module):
    """`net` behind an imprint module, which adds nearly nothing to its images [n, channels, height, width]."""

    def __init__(self, net: nn.Module, pixels: int, bins: int) -> None:
        super().__init__()
        self.measured = nn.Linear(pixels, bins)
        self.spread = nn.Linear(bins, pixels)
        self.net = net
        self.factors = torch.ones(bins)  # of the rows, as the server knows

    def forward(self, images: Tensor) -> Tensor:
        passed = self.measured(images.flatten(1)).relu()
        return self.net(images + self.spread(passed).view_as(images))


@torch.no_grad()
def imprinted(
    net: nn.Module,
    public: Tensor,
    bins: int,
    measurement: Literal["brightness", "projection"] = "brightness",
    noise: float = 0.0,
    scaled: bool = False,
    seed: int = 0,
) -> Imprinted:
    """`net` behind an imprint module whose bins hold equally many of the `public` images.

    `noise`, by which a subtle attacker makes rows of the first layer differ, is relative to a row's norm; `scaled` gives its
    rows norms of their own. The second layer allows none: slopes of neighboring bins would differ by more than what is between
    them.
    """
    rng = torch.Generator().manual_seed(seed)
    pixels = public[0].numel()
    model = Imprinted(net, pixels, bins)
    row = torch.ones(pixels) / pixels
    if measurement == "projection":
        row = torch.randn(pixels, generator=rng) / pixels**0.5
    edges = torch.quantile(public.flatten(1) @ row, torch.linspace(0, 1, bins + 1)[:-1])
    if scaled:
        model.factors = torch.rand(bins, generator=rng) + 0.5
    others = noise * row.norm() * torch.nn.functional.normalize(torch.randn(bins, pixels, generator=rng), dim=1)
    model.measured.weight.copy_(model.factors[:, None] * (row + others))
    model.measured.bias.copy_(-model.factors * edges)
    model.spread.weight.copy_((1e-3 / bins) * torch.randn(pixels, 1, generator=rng) / model.factors)
    model.spread.bias.zero_()
    return model


def taken(model: Imprinted, slopes: Mapping[str, Tensor]) -> Tensor:
    """What the slopes of the first layer give away: an image, or a mixture of some, for each bin that is not empty
    [images, pixels]."""
    weight, bias = (slopes[f"measured.{kind}"] for kind in ("weight", "bias"))
    weight, bias = weight * model.factors[:, None], bias * model.factors
    weights = torch.cat([weight[:-1] - weight[1:], weight[-1:]])
    biases = torch.cat([bias[:-1] - bias[1:], bias[-1:]])
    held = biases.abs() > 1e-9 * biases.abs().max()
    return weights[held] / biases[held, None]


@torch.no_grad()
def paired(net: nn.Module, public: Tensor, pairs: int, held: float, seed: int = 0) -> Imprinted:
    """A subtle imprint module: bins in pairs, each pair of a random measurement of its own, between whose two units the share
    `held` of the `public` images lies. Only the two columns of a pair need be alike in the second layer."""
    rng = torch.Generator().manual_seed(seed)
    pixels = public[0].numel()
    model = Imprinted(net, pixels, 2 * pairs)
    rows = torch.randn(pairs, pixels, generator=rng) / pixels**0.5
    low = torch.rand(pairs, generator=rng) * (1 - held)
    values = public.flatten(1) @ rows.T  # [images, pairs]
    edges = torch.stack([_quantiles(values, share) for share in (low, low + held)], dim=1)
    model.measured.weight.copy_(rows.repeat_interleave(2, dim=0))
    model.measured.bias.copy_(-edges.flatten())
    model.spread.weight.copy_((1e-3 / pairs) * torch.randn(pixels, pairs, generator=rng).repeat_interleave(2, dim=1))
    model.spread.bias.zero_()
    return model


def _quantiles(values: Tensor, shares: Tensor) -> Tensor:
    """Of each column its own quantile [columns]."""
    return torch.stack([torch.quantile(column, share) for column, share in zip(values.T, shares, strict=True)])
