"""Two fixed halves of a data set: one to choose settings on, the other to report on."""

import hashlib

import torch
from torch import Tensor

from .._base import Images


def tuning_half(images: Images) -> Tensor:
    """Which images settings may be chosen on (bool [n]): by the first bit of SHA-256 of an image's bytes, or of its group's
    number. So the half is the same whatever the seed, the order and the rest of the data set, and copies stay together."""
    rows = images.pixels if images.groups is None else images.groups
    return torch.tensor([hashlib.sha256(row.contiguous().numpy().tobytes()).digest()[0] < 128 for row in rows])
