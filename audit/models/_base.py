"""Classifiers under audit, and what belongs to them: their input normalization."""

import torch
from torch import Tensor, nn

from seethrough.attacks import Space


class Model:
    """A classifier's architecture. Parameters are its fields; there is one method to write."""

    def facts(self) -> str:
        """What beside the fields decides the model, such as the user's code. Raises: ValueError, a sentence."""
        return ""

    def build(self, space: Space) -> nn.Module:
        """The network from images [n, *space.shape] in [0, 1] to logits [n, space.classes], with its layers' own
        initialization. Raises: ValueError, if it cannot take this space; the message is a sentence."""
        raise NotImplementedError


class Normalized(nn.Module):
    """`net` on (images - mean) / std, with one mean and one standard deviation for each channel."""

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.net((images - self.mean) / self.std)


def normalized(
    net: nn.Module, space: Space, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> nn.Module:
    """`net` behind its input normalization, or as it is where none is given.

    Raises: ValueError, unless mean and std are both given with one positive value for each channel, or both left out.
    """
    if mean is None and std is None:
        return net
    channels = space.shape[0]
    if mean is None or std is None or len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise ValueError(
            f"found mean {mean} and std {std}; allowed: {channels} values of each, std above 0, or neither"
        )
    return Normalized(net, mean, std)


def bare(model: nn.Module) -> nn.Module:
    """The network without its input normalization: the module that a weights file names the parameters of."""
    return model.net if isinstance(model, Normalized) else model
