"""Learning Differentially Private Recurrent Language Models (McMahan et al., ICLR 2018), arXiv:1710.06963, algorithm 1.

A client's whole update is clipped, and Gaussian noise is added, so that the release hides the client, not an example.

Departs from the paper: each client adds the noise itself, before anything is sent (local differential privacy), since
noise that the server adds does not hold against the server. The participant is known, so nothing is amplified by sampling.
"""

from pydantic import Field
from torch import Generator

from seethrough.common.entry import entry
from seethrough.recipes import Recipe

from ._base import Defense, Guarantee, Message, Params, Update, dense_message
from .clipping import Clipping
from .gaussian_noise import GaussianNoise
from .guarantees.accounting import Accountant
from .guarantees.statement import client_guarantee


@entry
class ClientDP(Defense):
    """Clip the client's whole update to `max_norm`, and add N(0, (noise_multiplier * max_norm)^2) to each coordinate.

    The claim is about the update alone: BatchNorm statistics of the batch, where a threat model has them sent, are
    outside it.
    """

    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)
    max_norm: float = Field(gt=0, allow_inf_nan=False)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    accountant: Accountant = "rdp"

    def release(self, update: Update, rng: Generator) -> Update:
        """The update, its step clipped, then with noise."""
        return self._noising().release(self._clipping().release(update, rng), rng)

    def message(self, update: Update, sent: Message) -> Message:
        """Every coordinate in 32 bits: noise leaves none of them zero or at a level."""
        return dense_message(update)

    def expected(self, step: Params, observed: Params) -> Params:
        """The step, clipped."""
        return self._clipping().expected(step, observed)

    def noise(self, observed: Params, recipe: Recipe | None, count: int | None) -> Params:
        """(noise_multiplier * max_norm)^2 on each coordinate."""
        return self._noising().noise(observed, recipe, count)

    def guarantee(self, recipe: Recipe, count: int) -> Guarantee:
        """The guarantee of one round for a whole client, whatever its data and its local training."""
        return client_guarantee(self.noise_multiplier, self.delta, self.accountant)

    def _clipping(self) -> Clipping:
        return Clipping(max_norm=self.max_norm)

    def _noising(self) -> GaussianNoise:
        return GaussianNoise(std=self.noise_multiplier * self.max_norm)
