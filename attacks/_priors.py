"""What natural images have in common, as penalties on a batch of images [n, channels, height, width]."""

import torch
from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """The mean absolute difference of neighboring pixels, vertical plus horizontal (anisotropic, Rudin et al. 1992)."""
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return vertical + horizontal


def rounded_variation(images: Tensor, corner: float = 0.01) -> Tensor:
    """`total_variation` with |d| as sqrt(d^2 + corner^2) - corner, whose slope does not jump: fit for L-BFGS."""
    vertical, horizontal = images[..., 1:, :] - images[..., :-1, :], images[..., :, 1:] - images[..., :, :-1]
    means = [(difference.square() + corner**2).sqrt().mean() - corner for difference in (vertical, horizontal)]
    return means[0] + means[1]


def l2_norm(images: Tensor) -> Tensor:
    """The L2 norm of each image, averaged over the batch."""
    return torch.linalg.vector_norm(images.flatten(1), dim=1).mean()
