"""Laplace noise on the finished update."""

import dataclasses

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.recipes import Recipe

from ._base import Defense, Message, Params, Update, dense_message


@entry
class LaplaceNoise(Defense):
    """Add independent Laplace noise of scale `scale`, hence variance 2 * scale^2, to each coordinate of the update.

    It claims nothing: an update that nothing clips has no bounded sensitivity, so no amount of noise makes it
    differentially private. BatchNorm statistics that are sent beside the update get no noise.
    """

    scale: float = Field(gt=0, allow_inf_nan=False)

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, its step with noise: the difference of two exponential draws of mean `scale`."""

        def noisy(part: Tensor) -> Tensor:
            first, second = torch.empty((2, *part.shape), dtype=part.dtype).exponential_(1 / self.scale, generator=rng)
            return part + first - second

        return dataclasses.replace(update, step={name: noisy(part) for name, part in update.step.items()})

    def message(self, update: Update, sent: Message) -> Message:
        """Every coordinate in 32 bits: noise leaves none of them zero or at a level."""
        return dense_message(update)

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """2 * scale^2 on each coordinate."""
        return {name: part.new_tensor(2 * self.scale**2) for name, part in observed.items()}
