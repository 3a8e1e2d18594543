"""Top-k sparsification, or pruning (Aji and Heafield, EMNLP 2017, arXiv:1704.05021; Zhu, Liu, Han, NeurIPS 2019, section 5).

The coordinates of largest magnitude are sent, the others stay behind; nothing is carried over to a later round.
"""

import dataclasses
import math

import torch
from pydantic import Field
from torch import Generator

from seethrough.common.entry import entry

from ._base import Defense, Message, Params, Update, coordinates
from .clipping import l2_norm
from .parts.flat import flattened, shaped_like


@entry
class TopK(Defense):
    """Send the `share` of all coordinates that is largest in magnitude, and zero for the rest.

    It claims nothing: what is sent is exact, and which coordinates are sent tells about the data as well. BatchNorm
    statistics that are sent beside the update are sent whole.
    """

    share: float = Field(gt=0, le=1)

    def release(self, update: Update, rng: Generator) -> Update:
        """The update with ceil(share * coordinates) coordinates of its step, ranked over all parameters together."""
        flat = flattened(update.step)
        kept = torch.zeros_like(flat)
        largest = flat.abs().topk(math.ceil(self.share * len(flat))).indices
        kept[largest] = flat[largest]
        return dataclasses.replace(update, step=shaped_like(update.step, kept))

    def message(self, update: Update, sent: Message) -> Message:
        """What is kept, and where it is: as a list of positions, or where that is shorter as one bit a coordinate."""
        size = coordinates(update.step)
        values = min(sent.values, math.ceil(self.share * size))
        return Message(values, sent.bits, sent.beside + min(size, values * (size - 1).bit_length()))

    def expected(self, step: Params, observed: Params) -> Params:
        """The step where something was sent; elsewhere only what goes beyond the smallest magnitude sent.

        That magnitude is taken in proportion to the length of the step, so that a wrong scale does not matter.
        """
        sent = {name: part != 0 for name, part in observed.items()}
        least = torch.stack([part.abs().where(sent[name], torch.inf).amin() for name, part in observed.items()]).amin()
        length = l2_norm({name: part.detach() * sent[name] for name, part in step.items()})
        bound = least * (length / l2_norm(observed)).to(least.dtype)
        return {
            name: part.where(sent[name], part - torch.minimum(torch.maximum(part, -bound), bound))
            for name, part in step.items()
        }
