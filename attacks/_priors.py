"""What natural images have in common, as penalties on a batch of images [n, channels, height, width]."""

import torch
from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """The mean absolute difference of neighboring pixels, vertical plus horizontal (anisotropic, Rudin et al. 1992)."""
    vertical = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    horizontal = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return vertical + horizontal


def l2_norm(images: Tensor) -> Tensor:
    """The L2 norm of each image, averaged over the batch."""
    return torch.linalg.vector_norm(images.flatten(1), dim=1).mean()
