"""Labeled images in memory, and what yields them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from seethrough.attacks import Space
from seethrough.defenses import Batch


@dataclass(frozen=True, eq=False)
class Images:
    """A data set in memory."""

    pixels: Tensor  # uint8 in [0, 255] or float32 in [0, 1], [n, channels, height, width]
    labels: Tensor  # int64 [n] in [0, classes)
    classes: int
    groups: Tensor | None = None  # int64 [n], whose each image is, such as a patient's: a group is never divided
    names: tuple[str, ...] = ()  # of the classes in order, where they have some
    note: str = ""  # what a reader of the report should know of how they were read, such as files that were skipped
    dtype: torch.dtype = torch.float32  # of batches

    def name_of(self, label: int) -> str:
        """What a reader knows the class by."""
        return self.names[label] if 0 <= label < len(self.names) else f"class {label}"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def space(self) -> Space:
        channels, height, width = self.pixels.shape[1:]
        return Space((channels, height, width), self.classes)

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` [m], in [0, 1]."""
        pixels = self.pixels[indices].to(self.dtype)
        return Batch(pixels / 255 if self.pixels.dtype == torch.uint8 else pixels, self.labels[indices])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels and labels, with their types and shapes."""
        digest = hashlib.sha256(f"{self.pixels.dtype} {tuple(self.pixels.shape)} {self.classes}".encode())
        digest.update(self.pixels.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        if self.groups is not None:
            digest.update(self.groups.contiguous().numpy().tobytes())
        return digest.hexdigest()


class Data:
    """Where images come from. Parameters are its fields; there is one method to write."""

    published: ClassVar[bool] = False
    """Whether anybody may see these images, as those of a public data set. Others may show real people, so a report leaves
    pictures of them out unless it is told to keep them."""

    def load(self) -> Images:
        """Every image and label. Raises: UntrustedFileError, naming the file and what is wrong with it."""
        raise NotImplementedError
