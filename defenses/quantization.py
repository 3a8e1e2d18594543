"""Quantization of the finished update, after QSGD (Alistarh et al., NeurIPS 2017, arXiv:1610.02132, section 3.1).

With m the largest magnitude of a tensor and n = 2^(bits - 1) - 1, a coordinate v is sent as one of the 2n + 1 multiples of
m / n, beside m itself: the one below or above it, by chance, so that its expectation is v; or the nearest.

Departs from the paper: levels are spread over the largest magnitude of each tensor, as in TernGrad (Wen et al., NeurIPS
2017), not over its L2 norm, which at a few bits would send almost all coordinates as zero; codes are not compressed.
"""

import dataclasses
from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.recipes import Recipe

from ._base import Defense, Message, Params, Update


@entry
class Quantization(Defense):
    """Send each coordinate in `bits` bits, with one scale for each parameter tensor.

    It claims nothing: few bits may hold much, and rounding by chance is not noise of any set amount. BatchNorm statistics
    that are sent beside the update are sent whole.
    """

    bits: int = Field(ge=2, le=16)
    rounding: Literal["stochastic", "nearest"] = "stochastic"

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, each coordinate of its step rounded to a level."""

        def rounded(part: Tensor) -> Tensor:
            level = self._level(part)
            if self.rounding == "nearest":
                return (part / level).round() * level
            return (part / level + torch.rand(part.shape, generator=rng, dtype=part.dtype)).floor() * level

        return dataclasses.replace(update, step={name: rounded(part) for name, part in update.step.items()})

    def message(self, update: Update, sent: Message) -> Message:
        """`bits` a coordinate, and 32 for the scale of each tensor; what was zero stays zero, and need not be sent."""
        return Message(sent.values, self.bits, sent.beside + 32 * len(update.step))

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """The mean variance of rounding over a cell: level^2 / 6 where chance decides, else level^2 / 12.

        Rounding to the nearest level adds no noise, but what it takes away looks like some. Matching the cells themselves,
        so that a step anywhere within them is as good as any other, left attackers weaker by 1 to 3 dB.
        """
        share = 6 if self.rounding == "stochastic" else 12
        return {name: self._level(part).square() / share for name, part in observed.items()}

    def _level(self, part: Tensor) -> Tensor:
        """The distance between levels, a scalar > 0; the largest magnitude of what is sent is that of what was to be sent."""
        steps = 2 ** (self.bits - 1) - 1
        return (part.abs().amax() / steps).clamp(min=torch.finfo(part.dtype).tiny)
