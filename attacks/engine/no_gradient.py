"""Whether a search has anything to go by. One that has not returns its start, and that is no evidence that nothing leaks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Variables = tuple[Tensor, ...]  # each [restarts, ...]


@dataclass(eq=False)
class Watch:
    """What one search has met: a slope in the variable that it searches first, a loss unlike the first one."""

    first: Tensor | None = None  # losses [restarts] at the start
    steep: bool = False
    changed: bool = False

    def see(self, losses: Tensor, steepness: Callable[[], Tensor]) -> None:
        """Take in the losses [restarts] of an iterate and, as long as none was met, its slopes."""
        self.first = losses.detach() if self.first is None else self.first
        self.changed = self.changed or bool((losses.isfinite() & (losses != self.first)).any())
        self.steep = self.steep or bool(steepness().nan_to_num(0, 0, 0).any())

    def keep(self, kept: Tensor) -> None:
        """Go on with these restarts of those that it has met."""
        self.first = None if self.first is None else self.first[kept]


def why_lost(losses: Tensor, watches: Sequence[Watch]) -> str:
    """Why searches that end at these lowest losses [restarts] had nothing to go by; empty if one of them had."""
    if losses.isinf().all():
        return "the objective is not a finite number wherever the search could end"
    if not any(watch.steep for watch in watches):
        return "the update does not depend on the pixels: every slope is zero at every step of the search"
    if not any(watch.changed for watch in watches):
        return "the objective is the same to the last bit at every step of the search"
    return ""


def slopes_of(losses: Tensor, leaves: Variables) -> Variables:
    """The gradients of losses [restarts] by each of `leaves`: zeros where nothing leads from one to the other."""
    if not losses.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
