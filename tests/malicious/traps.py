"""Curious Abandon Honesty: trap weights (Boenisch, Dziedzic, Schuster, Shamsabadi, Shumailov, Papernot, EuroS&P 2023,
arXiv:2112.02918, section 5).

Of each row one half of the weights is negative, the other half their mirror image, shrunk by a factor below 1: images in
[0, 1] are then mostly below zero, and a unit is passed by few of them, often by one alone, whose pixels its slopes are.
"""

import torch
from torch import Tensor, nn


@torch.no_grad()
def set_traps(
    layer: nn.Linear, factor: float, seed: int = 0, inputs: Tensor | None = None, mirrored: bool = True
) -> None:
    """Put trap weights into `layer`, on those of its inputs that `inputs` [k] names, or on all of them.

    A subtle attacker draws both halves apart (`mirrored` False), so that no row's sum tells the factor.
    """
    rng = torch.Generator().manual_seed(seed)
    used = torch.arange(layer.in_features) if inputs is None else inputs
    layer.weight.zero_()
    assert layer.bias is not None
    layer.bias.zero_()
    half = len(used) // 2
    for row in layer.weight:
        order = used[torch.randperm(len(used), generator=rng)]
        sizes = torch.randn(half, generator=rng).abs()
        row[order[:half]] = -sizes
        row[order[half : 2 * half]] = factor * (sizes if mirrored else torch.randn(half, generator=rng).abs())
    layer.weight.div_(layer.in_features**0.5)


def trapped_mlp(
    pixels: int, units: int, classes: int, factor: float, seed: int = 0, mirrored: bool = True
) -> nn.Sequential:
    """A perceptron with one hidden layer of traps."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, units), nn.ReLU(), nn.Linear(units, classes))
    set_traps(model[1], factor, seed, mirrored=mirrored)
    return model


def trapped_cnn(
    shape: tuple[int, int, int], units: int, classes: int, factor: float, seed: int = 0, mirrored: bool = True
) -> nn.Sequential:
    """Two convolutions that pass the image on in their first channels, then a hidden layer of traps on these."""
    channels, height, width = shape
    maps = 4 * channels
    model = nn.Sequential(
        nn.Conv2d(channels, maps, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(maps, maps, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(maps * height * width, units),
        nn.ReLU(),
        nn.Linear(units, classes),
    )
    with torch.no_grad():
        for layer in (model[0], model[2]):
            for channel in range(channels):
                layer.weight[channel] = 0
                layer.weight[channel, channel, 1, 1] = 1
                layer.bias[channel] = 0
    set_traps(model[5], factor, seed, torch.arange(channels * height * width), mirrored)
    return model


def taken(weight: Tensor, bias: Tensor) -> Tensor:
    """What the slopes of a trapped layer give away: for each unit that was passed, the mean of its inputs, weighted by the
    slopes; one image where one alone passed it [units, inputs]."""
    passed = bias.abs() > 1e-9 * bias.abs().max()
    return weight[passed] / bias[passed, None]


@torch.no_grad()
def set_quantile_traps(layer: nn.Linear, public: Tensor, passing: float) -> None:
    """Leave the rows of `layer` as they are, and set its biases so that the share `passing` of `public` inputs [n, inputs]
    passes each unit: the same trap by biases alone (QBI: Nowak et al., 2024, arXiv:2406.18745)."""
    assert layer.bias is not None
    layer.bias.copy_(-torch.quantile(public @ layer.weight.T, 1 - passing, dim=0))
