"""Labeled images, and how an audit divides them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from attacks import Space
from defenses import Batch


@dataclass(frozen=True, eq=False)
class Images:
    """A data set in memory."""

    pixels: Tensor  # uint8 in [0, 255] or float32 in [0, 1], [n, channels, height, width]
    labels: Tensor  # int64 [n] in [0, classes)
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def space(self) -> Space:
        channels, height, width = self.pixels.shape[1:]
        return Space((channels, height, width), self.classes)

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` [m], as float32 in [0, 1]."""
        pixels = self.pixels[indices]
        return Batch(
            pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.clone(), self.labels[indices].clone()
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels and labels, with their types and shapes."""
        digest = hashlib.sha256(f"{self.pixels.dtype} {tuple(self.pixels.shape)} {self.classes}".encode())
        digest.update(self.pixels.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()


class Data:
    """Where images come from. Parameters are its fields; there is one method to write."""

    def load(self) -> Images:
        """Every image and label. Raises: audit.foreign.ForeignFileError, naming the file and what is wrong with it."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of a data set, as indices into it."""

    private: Tensor  # the clients' own
    public: Tensor  # what anyone may have: auxiliary data, blind guesses, the model's former training
    held_out: Tensor  # what nobody trained on


def split(count: int, private: float, public: float, rng: Generator) -> Split:
    """A random division of `count` images into shares `private` and `public`, the rest being held out."""
    order = torch.randperm(count, generator=rng)
    first, second = round(private * count), round((private + public) * count)
    return Split(order[:first], order[first:second], order[second:])
