"""Signs only: signSGD (Bernstein et al., ICML 2018, arXiv:1802.04434), scaled (Karimireddy et al., ICML 2019,
arXiv:1901.09847, section 4, without the error feedback, which needs later rounds).

A tensor v is sent as mean|v| * sign(v), one bit a coordinate and one number a tensor.
"""

import dataclasses
import math

import torch
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.recipes import Recipe

from ._base import Defense, Message, Params, Update, coordinates


@entry
class Sign(Defense):
    """Send the sign of each coordinate, and each tensor's mean magnitude.

    It claims nothing: signs alone tell the direction of the update well. Zero counts as positive. BatchNorm statistics that
    are sent beside the update are sent whole.
    """

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, its step in signs of one magnitude for each tensor."""

        def signs(part: Tensor) -> Tensor:
            magnitude = part.abs().mean()
            return torch.where(part >= 0, magnitude, -magnitude)

        return dataclasses.replace(update, step={name: signs(part) for name, part in update.step.items()})

    def message(self, update: Update, sent: Message) -> Message:
        """One bit a coordinate, 32 for the magnitude of each tensor, and 32 for each statistic."""
        return Message(coordinates(update.step), 1, 32 * (len(update.step) + coordinates(update.buffers)))

    def expected(self, step: Params, observed: Params) -> Params:
        """m * v / sqrt(v^2 + m^2) with m the tensor's mean magnitude: signs with a slope, near zero no sign at all."""

        def soft(part: Tensor) -> Tensor:
            magnitude = part.abs().mean() + torch.finfo(part.dtype).tiny
            return part / (1 + (part / magnitude).square()).sqrt()

        return {name: soft(part) for name, part in step.items()}

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """(pi / 2 - 1) m^2, what signs leave out of a normally distributed tensor of mean magnitude m."""
        tiny = {name: torch.finfo(part.dtype).tiny for name, part in observed.items()}
        return {name: (math.pi / 2 - 1) * part.square().mean() + tiny[name] for name, part in observed.items()}
