"""Any .npz file of images and labels, MedMNIST's layout included."""

from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from seethrough.common.entry import entry

from ..untrusted import UntrustedFileError, read_npz
from ._base import Data, Images

Part = Literal["all", "train", "val", "test"]
PARTS = ("train", "val", "test")
MOST_CHANNELS = 16


@entry
class Npz(Data):
    """Arrays `images` and `labels` of an .npz file, or MedMNIST's `train_images`, `train_labels`, ... (one `part` or all).

    Images: uint8 in [0, 255] or float in [0, 1], [n, height, width] or [n, height, width, channels]. Labels: integers
    from 0, [n] or [n, 1]. `group` names an array, [n] or [n, 1], that says whose each image is, such as a patient's number:
    nobody's images are divided between parts or clients. In MedMNIST's layout, `train_` and so on stand before that name too.
    `classes` are those that the model tells apart, where the file shows fewer; 0: one more than its highest label.
    """

    file: str = Field(min_length=1)
    part: Part = "all"
    group: str = ""
    classes: int = Field(default=0, ge=0, le=1_000_000)

    def load(self) -> Images:
        return _with_classes(self.file, self.part, self.group, self.classes)


@cache
def _with_classes(file: str, part: Part, group: str, classes: int) -> Images:
    images = _load(file, part, group)
    if 0 < classes < images.classes:
        found = f"found labels up to {images.classes - 1} and `classes: {classes}`"
        raise UntrustedFileError(f"{file}: {found}; allowed: at least {images.classes} classes, or none given")
    return replace(images, classes=classes) if classes else images


@cache
def _load(file: str, part: Part, group: str) -> Images:
    arrays = read_npz(file)
    if "images" in arrays and "labels" in arrays:
        prefixes = [""]
    else:
        prefixes = [
            f"{name}_"
            for name in PARTS
            if part in ("all", name) and f"{name}_images" in arrays and f"{name}_labels" in arrays
        ]
        if not prefixes:
            raise UntrustedFileError(
                f"{file}: found arrays {', '.join(sorted(arrays)) or 'none'}; allowed: `images` and `labels`, or MedMNIST's "
                "`train_images`, `train_labels` and so on"
            )
    missing = [f"{prefix}{group}" for prefix in prefixes if group and f"{prefix}{group}" not in arrays]
    if missing:
        raise UntrustedFileError(
            f"{file}: found arrays {', '.join(sorted(arrays))}, none of them {missing[0]}; allowed: one of its arrays"
        )
    images, labels, *groups = (
        _joined([arrays[f"{prefix}{name}"] for prefix in prefixes], name, file)
        for name in ("images", "labels", *([group] if group else []))
    )
    return images_from_arrays(images, labels, file, groups[0] if groups else None)


def _joined(arrays: list[np.ndarray], name: str, file: str) -> np.ndarray:
    if len(arrays) == 1:
        return arrays[0]
    if 0 in {array.ndim for array in arrays} or len({array.shape[1:] for array in arrays}) > 1:
        shapes = " and ".join(str(list(array.shape)) for array in arrays)
        raise UntrustedFileError(f"{file}: {name} of its parts have shapes {shapes}; allowed: parts that fit together")
    return np.concatenate(arrays)


def images_from_arrays(images: np.ndarray, labels: np.ndarray, file: str, groups: np.ndarray | None = None) -> Images:
    """`images`, `labels` and `groups` checked, as `Images`. Raises: UntrustedFileError, naming the one at fault."""
    if images.ndim == 3:
        images = images[..., None]
    if (
        images.ndim != 4
        or min(images.shape) == 0
        or images.shape[3] > min(MOST_CHANNELS, max(3, min(images.shape[1:3])))
    ):
        raise UntrustedFileError(
            f"{file}: images have shape {list(images.shape)}; allowed: [n, height, width] or [n, height, width, channels] "
            f"with 1 to {MOST_CHANNELS} channels, the channels last"
        )
    floating = np.issubdtype(images.dtype, np.floating)
    if images.dtype != np.uint8 and not floating:
        raise UntrustedFileError(
            f"{file}: images have type {images.dtype}; allowed: uint8 in [0, 255] or float in [0, 1]"
        )
    if floating and not (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1):
        raise UntrustedFileError(
            f"{file}: images have values in [{images.min()}, {images.max()}]; allowed for floats: [0, 1]"
        )
    flat = np.atleast_1d(labels).reshape(labels.shape[0] if labels.ndim else 1, -1)
    if flat.shape != (len(images), 1) or not np.issubdtype(labels.dtype, np.integer):
        raise UntrustedFileError(
            f"{file}: labels have shape {list(labels.shape)} and type {labels.dtype}; allowed: one integer for each of the "
            f"{len(images)} images"
        )
    if flat.min() < 0:
        raise UntrustedFileError(f"{file}: labels go down to {flat.min()}; allowed: 0 and up")
    pixels = torch.from_numpy(images.astype(np.float32) if floating else images).permute(0, 3, 1, 2).contiguous()
    whose = None if groups is None else _numbered(groups, len(images), file)
    return Images(pixels, torch.from_numpy(flat[:, 0].astype(np.int64)), classes=int(flat.max()) + 1, groups=whose)


def _numbered(groups: np.ndarray, count: int, file: str) -> torch.Tensor:
    """Groups as numbers from 0, [n]."""
    if groups.size != count or len(groups) != count or groups.dtype.kind not in "iu":
        raise UntrustedFileError(
            f"{file}: groups have shape {list(groups.shape)} and type {groups.dtype}; allowed: one integer for each of the "
            f"{count} images"
        )
    return torch.from_numpy(np.unique(groups.ravel(), return_inverse=True)[1].astype(np.int64))
