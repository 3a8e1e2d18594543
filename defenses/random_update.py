"""The negative control of an audit: what is sent is noise, as long as the update and with nothing of it."""

import dataclasses

import torch
from torch import Generator

from seethrough.common.entry import entry

from ._base import Defense, Update
from .clipping import l2_norm


@entry
class RandomUpdate(Defense):
    """Replace the update by Gaussian noise of its own L2 norm: no defense, but an audit's negative control.

    Whatever is found behind it was not in the update, so an audit that finds a leak here is wrong. Only the norm is kept; the
    statistics of BatchNorm layers are sent as zeros. An attacker takes it for an update like any other.
    """

    def release(self, update: Update, rng: Generator) -> Update:
        """Noise of N(0, 1) in each coordinate, scaled to the update's L2 norm over all parameters."""
        drawn = {name: torch.randn(part.shape, generator=rng, dtype=part.dtype) for name, part in update.step.items()}
        factor = l2_norm(update.step) / l2_norm(drawn)
        step = {name: part * factor.to(part.dtype) for name, part in drawn.items()}
        return dataclasses.replace(
            update, step=step, buffers={name: torch.zeros_like(part) for name, part in update.buffers.items()}
        )

    def why_unclaimed(self) -> str:
        return "a control, not a defense: the norm is that of the update"
