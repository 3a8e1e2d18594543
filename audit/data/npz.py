"""Any .npz file of images and labels, MedMNIST's layout included."""

from functools import cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from audit.data._base import Data, Images
from audit.foreign import ForeignFileError, read_npz
from defenses._base import entry

Part = Literal["all", "train", "val", "test"]
PARTS = ("train", "val", "test")


@entry
class Npz(Data):
    """Arrays `images` and `labels` of an .npz file, or MedMNIST's `train_images`, `train_labels`, ... (one `part` or all).

    Images: uint8 in [0, 255] or float in [0, 1], [n, height, width] or [n, height, width, channels]. Labels: integers
    from 0, [n] or [n, 1].
    """

    file: str = Field(min_length=1)
    part: Part = "all"

    def load(self) -> Images:
        return _load(self.file, self.part)


@cache
def _load(file: str, part: Part) -> Images:
    arrays = read_npz(file)
    if "images" in arrays and "labels" in arrays:
        images, labels = arrays["images"], arrays["labels"]
    else:
        wanted = [
            name
            for name in PARTS
            if part in ("all", name) and f"{name}_images" in arrays and f"{name}_labels" in arrays
        ]
        if not wanted:
            raise ForeignFileError(
                f"{file}: found arrays {', '.join(sorted(arrays)) or 'none'}; allowed: `images` and `labels`, or MedMNIST's "
                "`train_images`, `train_labels` and so on"
            )
        images = np.concatenate([arrays[f"{name}_images"] for name in wanted])
        labels = np.concatenate([arrays[f"{name}_labels"] for name in wanted])
    return images_from_arrays(images, labels, file)


def images_from_arrays(images: np.ndarray, labels: np.ndarray, file: str) -> Images:
    """`images` and `labels` checked and laid out as `Images`. Raises: ForeignFileError, naming the array at fault."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or min(images.shape) == 0:
        raise ForeignFileError(
            f"{file}: images have shape {list(images.shape)}; allowed: [n, height, width] or [n, height, width, channels] "
            "with 1 or 3 channels"
        )
    floating = np.issubdtype(images.dtype, np.floating)
    if images.dtype != np.uint8 and not floating:
        raise ForeignFileError(
            f"{file}: images have type {images.dtype}; allowed: uint8 in [0, 255] or float in [0, 1]"
        )
    if floating and not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise ForeignFileError(
            f"{file}: images have values in [{images.min()}, {images.max()}]; allowed for floats: [0, 1]"
        )
    flat = np.atleast_1d(labels).reshape(labels.shape[0] if labels.ndim else 1, -1)
    if flat.shape != (len(images), 1) or not np.issubdtype(labels.dtype, np.integer):
        raise ForeignFileError(
            f"{file}: labels have shape {list(labels.shape)} and type {labels.dtype}; allowed: one integer for each of the "
            f"{len(images)} images"
        )
    if flat.min() < 0:
        raise ForeignFileError(f"{file}: labels go down to {flat.min()}; allowed: 0 and up")
    pixels = torch.from_numpy(images.astype(np.float32) if floating else images).permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.from_numpy(flat[:, 0].astype(np.int64)), classes=int(flat.max()) + 1)
