"""Clipping: the finished update is scaled back to a largest length before it is sent."""

import dataclasses

import torch
from pydantic import Field
from torch import Generator, Tensor

from defenses._base import Defense, Params, Update, entry


@entry
class Clipping(Defense):
    """Scale the update so that its L2 norm over all parameters is at most `max_norm`.

    Alone it claims nothing: clipping bounds how far one client can move the model, but without noise the direction of the
    update is sent exactly, and so is the whole update when it is shorter than `max_norm`. BatchNorm statistics that
    are sent beside the update are not clipped.
    """

    max_norm: float = Field(gt=0, allow_inf_nan=False)

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, its step multiplied by min(1, max_norm / norm); zeros for a step that is not finite."""
        norm = l2_norm(update.step)
        factor = (self.max_norm / norm).clamp(max=1.0)

        def clipped(part: Tensor) -> Tensor:
            return torch.where(norm.isfinite(), part * factor.to(part), torch.zeros_like(part))

        return dataclasses.replace(update, step={name: clipped(part) for name, part in update.step.items()})

    def longest_step(self) -> float:
        """`max_norm`."""
        return self.max_norm

    def why_unclaimed(self) -> str:
        return "clipping without noise: a direction, or a whole short update, is sent exactly"


def l2_norm(params: Params) -> Tensor:
    """The L2 norm over all tensors together, as a float64 scalar."""
    return torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64) for part in params.values()]).norm()
