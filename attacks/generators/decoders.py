"""Networks from latents to images: what every generator of ours has in common.

A decoder has two parts, so that a search may let go of the features between them: `head`, from latents and class
probabilities to features, and `tail`, from features to images. A decoder that knows no classes is built for 0 of them.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Decoder(nn.Module):
    """`tail` of `head`, cut to [channels, height, width] = `shape` and squeezed into [0, 1]."""

    def __init__(self, shape: tuple[int, ...], head: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.shape, self.head, self.tail = shape, head, tail

    def features(self, latents: Tensor, classes: Tensor) -> Tensor:
        """The features [n, ...] of latents [n, latent] and class probabilities [n, classes]."""
        return self.head(torch.cat([latents, classes], dim=1))

    def logits(self, features: Tensor) -> Tensor:
        """The images [n, *shape] of features [n, ...], before the sigmoid."""
        return self.tail(features)[..., : self.shape[1], : self.shape[2]]

    def images(self, features: Tensor) -> Tensor:
        """The images [n, *shape] in [0, 1] of features [n, ...]."""
        return self.logits(features).sigmoid()

    def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
        return self.logits(self.features(latents, classes))


def convolutional(shape: tuple[int, ...], inputs: int, width: int, hidden: int, norm: bool = False) -> Decoder:
    """A hidden linear layer, then two transposed convolutions from a quarter of the images' size; with `norm`, BatchNorm
    before each rectifier but the first (DCGAN; Radford, Metz, Chintala, ICLR 2016, arXiv:1511.06434)."""
    smallest = (2 * width, quarter(shape[1]), quarter(shape[2]))
    head = nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.SiLU(),
        nn.Linear(hidden, smallest[0] * smallest[1] * smallest[2]),
        nn.Unflatten(1, smallest),
        nn.BatchNorm2d(2 * width) if norm else nn.Identity(),
        nn.SiLU(),
    )
    tail = nn.Sequential(
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
        nn.BatchNorm2d(width) if norm else nn.Identity(),
        nn.SiLU(),
        nn.ConvTranspose2d(width, shape[0], 4, stride=2, padding=1),
    )
    return Decoder(shape, head, tail)


def shallow(shape: tuple[int, ...], inputs: int) -> Decoder:
    """One linear layer to 16 channels at the images' size, rectified, and one transposed convolution."""
    head = nn.Sequential(
        nn.Linear(inputs, 16 * shape[1] * shape[2]), nn.ReLU(), nn.Unflatten(1, (16, shape[1], shape[2]))
    )
    return Decoder(shape, head, nn.ConvTranspose2d(16, shape[0], 3, padding=1))


def unset(build: Callable[[], nn.Module]) -> nn.Module:
    """What `build` builds, its memory not yet set, without a draw from the global generator."""
    with torch.device("meta"):
        net = build()
    return net.to_empty(device="cpu")


def initialized(net: nn.Module, rng: Generator) -> nn.Module:
    """`net` with Glorot's uniform weights drawn from `rng` and zero biases: building it with torch's own
    initialization would draw from the global generator."""
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, generator=rng)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return net


def quarter(size: int) -> int:
    """A fourth of `size`, rounded up."""
    return -(-size // 4)
