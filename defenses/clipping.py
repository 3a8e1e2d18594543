"""Clipping: the finished update is scaled back to a largest length before it is sent."""

import dataclasses
import math

import torch
from pydantic import Field
from torch import Generator, Tensor

from seethrough.common.entry import entry

from ._base import Defense, Params, Update


@entry
class Clipping(Defense):
    """Scale the update so that its L2 norm over all parameters is at most `max_norm`.

    With `per_layer`, each of the L parameter tensors is scaled by itself to at most max_norm / sqrt(L), which bounds the
    whole as before. Alone it claims nothing: clipping bounds how far one client can move the model, but without noise the
    direction of the update is sent exactly, and so is the whole update when it is shorter than `max_norm`. BatchNorm
    statistics that are sent beside the update are not clipped.
    """

    max_norm: float = Field(gt=0, allow_inf_nan=False)
    per_layer: bool = False

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, its step (or each tensor of it) multiplied by min(1, bound / norm)."""
        return dataclasses.replace(update, step=self.expected(update.step, update.step))

    def expected(self, step: Params, observed: Params) -> Params:
        """The step, clipped in the same way: nothing is left to chance."""
        if not self.per_layer:
            return shortened(step, self.max_norm)
        bound = self.max_norm / math.sqrt(len(step))
        return {name: shortened({name: part}, bound)[name] for name, part in step.items()}

    def longest_step(self) -> float:
        """`max_norm`."""
        return self.max_norm

    def why_unclaimed(self) -> str:
        return "clipping without noise: a direction, or a whole short update, is sent exactly"


def shortened(step: Params, max_norm: float | Tensor) -> Params:
    """`step` multiplied by min(1, max_norm / its L2 norm), zeros where that is not finite; the norm's slope stays finite at
    zero."""
    norm = l2_norm(step)
    factor = max_norm / norm.clamp(min=max_norm)
    return {
        name: torch.where(norm.isfinite(), part * factor.to(part.dtype), torch.zeros_like(part))
        for name, part in step.items()
    }


def l2_norm(params: Params) -> Tensor:
    """The L2 norm over all tensors together, as a float64 scalar."""
    return torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in params.values()]).norm()
