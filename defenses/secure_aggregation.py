"""Practical Secure Aggregation for Privacy-Preserving Machine Learning (Bonawitz et al., CCS 2017), a simulation.

Each client encodes its update in fixed point and hides it under masks that cancel in the cohort's sum, so the server
learns the sum and nothing else.

Departs from the paper: nobody drops out, so there are no secret shares and no self-masks, and the secrets of the pairs
are drawn from the round's stream instead of being agreed by Diffie-Hellman. What the server sees is the same. Fixed
point is Flower's (SecAgg+, with its parameters), but rounds to nearest, which halves the worst error, and weights
updates by their counts in exact proportion.
"""

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from defenses._base import Aggregate, Defense, Update, entry, sum_of
from defenses._masking import masked, pairwise_seeds


@entry
class SecureAggregation(Defense):
    """Let the server learn only the sum over `clients` updates, modulo `modulus`.

    Coordinates beyond +-`clipping_range` are clipped to it, then rounded to one of `quantization_range` + 1 levels.
    The decoded mean is within clients * clipping_range / (quantization_range * sum of weights) of the weighted mean of
    updates in that range; weights are counts in proportion to the largest, and public. It claims no differential
    privacy: the sum itself is exact.
    """

    clients: int = Field(default=4, ge=2, le=1000)
    clipping_range: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    quantization_range: int = Field(default=2**22, ge=1, le=2**40)
    modulus: int = Field(default=2**32, ge=2, le=2**48)

    @model_validator(mode="after")
    def _sum_fits_in_the_ring(self) -> "SecureAggregation":
        if self.modulus & (self.modulus - 1):
            raise ValueError(f"modulus must be a power of two, found {self.modulus}")
        if self.modulus <= self.clients * self.quantization_range:
            largest = self.clients * self.quantization_range
            raise ValueError(f"modulus must exceed clients * quantization_range = {largest}, found {self.modulus}")
        return self

    def cohort(self) -> int:
        """The number of clients whose updates are summed."""
        return self.clients

    def aggregate(self, updates: tuple[Update, ...], rng: Generator) -> Aggregate:
        """The decoded mean, and each client's masked message (int64 [coordinates], the step's before the statistics').

        Raises: ValueError, for another number of updates than `clients`, or if one is not finite.
        """
        if len(updates) != self.clients:
            raise ValueError(
                f"secure aggregation over {self.clients} clients needs as many updates, found {len(updates)}"
            )
        largest = max(update.count for update in updates)
        weights = [update.count / largest for update in updates]
        vectors = [_flat(update, updates[0]) for update in updates]
        encoded = tuple(self._encoded(weight * vector) for weight, vector in zip(weights, vectors, strict=True))
        messages = masked(encoded, pairwise_seeds(self.clients, rng), self.modulus)
        total = sum_of(messages) % self.modulus
        mean = self._decoded(total) / sum(weights)
        count = sum(update.count for update in updates)
        return Aggregate(_shaped(mean, updates[0], count), seen=(), masked=messages)

    def _encoded(self, numbers: Tensor) -> Tensor:
        if not numbers.isfinite().all():
            raise ValueError("secure aggregation has no code for a number that is not finite, found one in an update")
        clipped = numbers.clamp(-self.clipping_range, self.clipping_range)
        return ((clipped + self.clipping_range) / self._resolution()).round().long()

    def _decoded(self, total: Tensor) -> Tensor:
        return total * self._resolution() - self.clients * self.clipping_range

    def _resolution(self) -> float:
        return 2 * self.clipping_range / self.quantization_range


def _flat(update: Update, form: Update) -> Tensor:
    """The coordinates of `update` as one float64 vector, in the order of `form`: the step's, then the statistics'."""
    parts = [update.step[name] for name in form.step] + [update.buffers[name] for name in form.buffers]
    return torch.cat([part.flatten().double() for part in parts])


def _shaped(flat: Tensor, form: Update, count: int) -> Update:
    """The update of `count` examples whose coordinates are in `flat`; names, shapes and dtypes are those of `form`."""
    parts = [*form.step.values(), *form.buffers.values()]
    pieces = flat.split([part.numel() for part in parts])
    tensors = [piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True)]
    step = dict(zip(form.step, tensors, strict=False))
    return Update(step, count, dict(zip(form.buffers, tensors[len(step) :], strict=True)))
