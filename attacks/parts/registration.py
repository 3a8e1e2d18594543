"""The mean of several reconstructions of one batch, after images that show the same thing were laid over each other.

Seeds recover a batch's images of equal label in any order, and each a little displaced. So images are first assigned to
those of the first seed (Hungarian method, within equal labels), then shifted onto their pixelwise mean.
"""

import numpy as np
import torch
from scipy.ndimage import shift
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def registered_mean(images: Tensor, labels: Tensor, limit: int) -> Tensor:
    """For every seed's images [seeds, n, channels, height, width], the mean over seeds of what each one shows.

    `labels` [n] are the same for all seeds; no image is shifted by more than `limit` pixels.
    """
    orders = [assignment(images[0], found, labels) for found in images]
    aligned = torch.stack([found[order] for found, order in zip(images, orders, strict=True)])
    means = torch.stack([_mean_of_shifted(group, limit) for group in aligned.unbind(1)])
    return torch.stack([means[order.argsort()] for order in orders])


def assignment(reference: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """The order of `images` [n, ...] that brings each as near as possible to `reference`, within equal labels [n]."""
    order = torch.arange(len(labels), device=labels.device)
    for label in labels.unique():
        places = (labels == label).nonzero().flatten()
        costs = torch.cdist(reference[places].flatten(1), images[places].flatten(1)).square()
        _, columns = linear_sum_assignment(costs.cpu().numpy())
        order[places] = places[torch.from_numpy(columns).to(places.device)]
    return order


def registered(image: Tensor, target: Tensor, limit: int) -> Tensor:
    """`image` [channels, height, width] shifted by whole pixels onto `target`; as it was if that takes more than `limit`.

    A shift estimated beyond the limit is taken for a mistake, not cut down to it. The plain cross-correlation is used,
    not the phase correlation, which trusts all frequencies alike and so fails on noisy images.
    """
    from skimage.registration import phase_cross_correlation  # slow to import, and wanted only here

    moving, fixed = (_contrast(part) for part in (image, target))
    if not moving.any() or not fixed.any():
        return image
    offset = phase_cross_correlation(fixed, moving, normalization=None)[0]
    if np.abs(offset).max() > limit:
        return image
    moved = shift(image.cpu().numpy(), (0, *offset), order=0, mode="nearest")
    return torch.from_numpy(moved).to(image)


def _mean_of_shifted(images: Tensor, limit: int) -> Tensor:
    mean = images.mean(0)
    return torch.stack([registered(image, mean, limit) for image in images]).mean(0)


def _contrast(image: Tensor) -> np.ndarray:
    gray = image.mean(0)
    return (gray - gray.mean()).cpu().numpy()
