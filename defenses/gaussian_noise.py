"""Gaussian noise on the finished update."""

import dataclasses

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.recipes import Recipe

from ._base import Defense, Guarantee, Message, Params, Update, dense_message
from .guarantees.statement import client_guarantee


@entry
class GaussianNoise(Defense):
    """Add independent noise of N(0, std^2) to each coordinate of the update.

    Alone it claims nothing: an update that nothing clips may change by any amount when one example changes, so its
    sensitivity is unbounded, and no amount of noise makes it differentially private. Right after clipping, in a chain,
    it claims what client-level differential privacy does. BatchNorm statistics that are sent beside the update get no
    noise.
    """

    std: float = Field(gt=0, allow_inf_nan=False)

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, its step with noise."""

        def noisy(part: Tensor) -> Tensor:
            return part + self.std * torch.randn(part.shape, generator=rng, dtype=part.dtype)

        return dataclasses.replace(update, step={name: noisy(part) for name, part in update.step.items()})

    def message(self, update: Update, sent: Message) -> Message:
        """Every coordinate in 32 bits: noise leaves none of them zero or at a level."""
        return dense_message(update)

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """std^2 on each coordinate."""
        return {name: part.new_tensor(self.std**2) for name, part in observed.items()}

    def guarantee_for(self, longest: float) -> Guarantee:
        """The guarantee of this noise on a clipped update, for the client as a whole, at a delta of 1e-5 by RDP."""
        return client_guarantee(self.std / longest, delta=1e-5, accountant="rdp")

    def why_unclaimed(self) -> str:
        return "noise without clipping right before it: one example may move the update by any amount"
