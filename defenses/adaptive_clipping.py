"""Differentially Private Learning with Adaptive Clipping (Andrew et al., NeurIPS 2021), arXiv:1905.03871.

The norm to which updates are clipped follows a quantile of the cohort's norms.

Departs from the paper: it is one round, so the norm is that very quantile, not the value to which many rounds of noisy
votes would move it; and there is no noise, so nothing is claimed.
"""

import torch
from pydantic import Field
from torch import Generator

from seethrough.common.entry import entry

from ._base import Defense, Params, Update
from .clipping import Clipping, l2_norm, shortened


@entry
class AdaptiveClipping(Defense):
    """Clip each of `clients` updates to the `quantile` of the cohort's L2 norms, a number that all of them learn.

    It claims nothing: there is no noise. BatchNorm statistics that are sent beside the update are not clipped.
    """

    quantile: float = Field(default=0.5, gt=0, lt=1)
    clients: int = Field(default=4, ge=2, le=1000)

    def cohort(self) -> int:
        """The number of clients over whose norms the quantile is taken."""
        return self.clients

    def cohort_step(self, updates: tuple[Update, ...], rngs: tuple[Generator, ...]) -> tuple[Update, ...]:
        """The updates, each clipped to the quantile of their norms (linear between neighbors)."""
        norms = torch.stack([l2_norm(update.step) for update in updates])
        bound = float(norms.quantile(self.quantile))
        if bound == 0:
            return updates
        return tuple(Clipping(max_norm=bound).release(update, rng) for update, rng in zip(updates, rngs, strict=True))

    def expected(self, step: Params, observed: Params) -> Params:
        """The step, clipped to the length of what was seen: exact if it was clipped, and if it was not."""
        return shortened(step, l2_norm(observed))
