"""Practical Secure Aggregation for Privacy-Preserving Machine Learning (Bonawitz et al., CCS 2017), a simulation.

Each client encodes its update in fixed point and hides it under masks that the server can take off the sum alone, also if
clients drop out; `parts/secure_sum/` plays the protocol, all parties in one process.

Departs from the paper: against an honest but curious server, so without signatures and without the consistency check;
clients drop out before they send their masked message only. Fixed point is Flower's (SecAgg+, with its parameters), but
rounds to nearest, which halves the worst error, and weights updates by their counts in exact proportion.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from seethrough.common.entry import entry
from seethrough.common.spelling import ALWAYS_SAID

from ._base import Aggregate, Defense, Message, Params, Update, coordinates
from .parts.flat import flattened, shaped_like
from .parts.secure_sum.protocol import protocol_bytes, secure_sum


@entry
class SecureAggregation(Defense):
    """Let the server learn only the sum over `clients` updates, modulo `modulus_range`, in a simulation of the protocol.

    Coordinates beyond +-`clipping_range` are clipped to it, then rounded to one of `quantization_range` + 1 levels.
    The decoded mean is within clients * clipping_range / (quantization_range * sum of weights) of the weighted mean of
    updates in that range; weights are counts in proportion to the largest, and public. It claims no differential
    privacy: the sum itself is exact, and the sum of one is that one.

    Clients who drop out of a round (`population` of the setting says how many do) have shared their secrets and send nothing.
    Fewer than `reconstruction_threshold` left (by default more than half of `clients`) abort the round.

    With `index_lists` clients tell in the clear which coordinates of their sparse updates they send, and need to mask and send
    only these; what one client alone sends is then that client's own, in the sum. The simulation masks the others too, which
    moves no number.
    """

    renamed: ClassVar[dict[str, str]] = {
        "dropped_before_masking": "population.dropouts of the setting",
        "dropped_after_masking": "population.dropouts of the setting",
    }

    clients: int = Field(default=4, ge=1, le=100, json_schema_extra=ALWAYS_SAID)
    clipping_range: float = Field(default=8.0, gt=0, allow_inf_nan=False)
    quantization_range: int = Field(default=2**22, ge=1, le=2**40)
    modulus_range: int = Field(default=2**32, ge=2, le=2**48)
    reconstruction_threshold: int | None = Field(default=None, ge=1)
    index_lists: bool = False

    @model_validator(mode="after")
    def _sum_fits_in_the_ring(self) -> "SecureAggregation":
        if self.modulus_range & (self.modulus_range - 1):
            raise ValueError(f"modulus_range must be a power of two, found {self.modulus_range}")
        largest = self.clients * self.quantization_range
        if self.modulus_range <= largest:
            raise ValueError(
                f"modulus_range must exceed clients * quantization_range = {largest}, found {self.modulus_range}"
            )
        return self

    @model_validator(mode="after")
    def _no_more_than_all_clients(self) -> "SecureAggregation":
        if self.threshold() > self.clients:
            raise ValueError(
                f"reconstruction_threshold must be at most clients = {self.clients}, found {self.reconstruction_threshold}"
            )
        return self

    def cohort(self) -> int:
        """The number of clients whose updates are to be summed."""
        return self.clients

    def threshold(self) -> int:
        """The number of clients that must stay to the end."""
        return self.clients // 2 + 1 if self.reconstruction_threshold is None else self.reconstruction_threshold

    def aggregate(self, updates: tuple[Update, ...], rng: Generator) -> Aggregate:
        """The decoded mean, and each client's masked message (int64 [coordinates], the step's before the statistics').

        Raises: ValueError, for more updates than `clients`, or none, or if one is not finite; AbortedError, if too few
        clients stay.
        """
        if not 0 < len(updates) <= self.clients:
            raise ValueError(f"secure aggregation sums 1 to {self.clients} updates, found {len(updates)}")
        largest = max(update.count for update in updates)
        weights = [update.count / largest for update in updates]
        encoded = tuple(
            self._encoded(weight * _vector(u, updates[0])) for weight, u in zip(weights, updates, strict=True)
        )
        left = len(updates)
        absent = (None,) * (self.clients - left)
        total, seen = secure_sum((*encoded, *absent), self.threshold(), self.modulus_range, rng)
        read = _shaped(self._decoded(total, left) / sum(weights), updates[0], sum(update.count for update in updates))
        if left == 1:
            return Aggregate(read, seen=(read,), note=EXPOSED)
        dropped = f"{left} of {self.clients} clients' updates are in the sum" if absent else ""
        note = "; ".join(filter(None, (dropped, self.loses([update.step for update in updates]))))
        lists = tuple({name: part != 0 for name, part in update.step.items()} for update in updates)
        return Aggregate(read, (), tuple(seen.masked.values()), lists if self.index_lists else (), note)

    def loses(self, steps: Sequence[Params]) -> str:
        """What the ring's range and resolution take from such steps, if much: no protection, it ruins the sum."""
        numbers = torch.cat([flattened(step) for step in steps]).abs()
        numbers = numbers[numbers > 0]
        if not len(numbers):
            return ""
        lost = float((numbers < self._resolution() / 2).float().mean())
        cut = float((numbers > self.clipping_range).float().mean())
        said = []
        if lost > MUCH_LOST:
            said.append(
                f"a clipping_range of {self.clipping_range:g} is resolved to {self._resolution():.2g}, so that "
                f"{lost:.0%} of the updates' coordinates are rounded to zero"
            )
        if cut > MUCH_CUT:
            said.append(
                f"{cut:.0%} of the updates' coordinates are cut off at a clipping_range of {self.clipping_range:g}"
            )
        return "; ".join(said)

    def message(self, update: Update, sent: Message) -> Message:
        """Each coordinate and statistic as an element of the ring, beside the protocol's own messages if nobody drops out.
        With index lists only what is sent, and where that is."""
        bits, beside = (self.modulus_range - 1).bit_length(), 8 * protocol_bytes(self.clients)
        statistics = coordinates(update.buffers)
        if self.index_lists:  # the statistics stand beside what is sent, at 32 bits
            return Message(sent.values + statistics, bits, beside + sent.beside - 32 * statistics)
        return Message(coordinates(update.step) + statistics, bits, beside)

    def expected(self, step: Params, observed: Params) -> Params:
        """The step, its coordinates clipped to `clipping_range`."""
        return {name: part.clamp(-self.clipping_range, self.clipping_range) for name, part in step.items()}

    def _encoded(self, numbers: Tensor) -> Tensor:
        if not numbers.isfinite().all():
            raise ValueError("secure aggregation has no code for a number that is not finite, found one in an update")
        clipped = numbers.clamp(-self.clipping_range, self.clipping_range)
        return ((clipped + self.clipping_range) / self._resolution()).round().long()

    def _decoded(self, total: Tensor, members: int) -> Tensor:
        return total * self._resolution() - members * self.clipping_range

    def _resolution(self) -> float:
        return 2 * self.clipping_range / self.quantization_range


MUCH_LOST, MUCH_CUT = 0.5, 0.01  # shares of coordinates rounded to zero, and cut off, above which it is named
EXPOSED = "the sum is of one client alone, so secure aggregation hid nothing: the server reads that client's update"


def _vector(update: Update, form: Update) -> Tensor:
    """The coordinates of `update` as one float64 vector, in the order of `form`: the step's, then the statistics'."""
    parts = {**{name: update.step[name] for name in form.step}, **{name: update.buffers[name] for name in form.buffers}}
    return flattened({name: part.double() for name, part in parts.items()})


def _shaped(flat: Tensor, form: Update, count: int) -> Update:
    """The update of `count` examples whose coordinates are in `flat`; names, shapes and dtypes are those of `form`."""
    size = sum(part.numel() for part in form.step.values())
    return Update(shaped_like(form.step, flat[:size]), count, shaped_like(form.buffers, flat[size:]))
