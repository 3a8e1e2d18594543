"""Partial sharing: a random part of the coordinates (Shokri and Shmatikov, CCS 2015, section 5), or all but one layer
(FedPer, Arivazhagan et al. 2019, arXiv:1912.00818), is sent.

Departs from the papers: it is one round, so nothing that was withheld is sent later.
"""

import dataclasses
import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Generator

from seethrough.common.entry import entry

from ._base import Defense, Message, Params, Update, coordinates
from .parts.flat import flattened, shaped_like


@entry
class PartialSharing(Defense):
    """Send a random `share` of the coordinates, and nothing of the first or the last layer if it is `withheld`.

    It claims nothing: what is sent is exact. Zero stands for what is not sent. Layers are counted in the order of the
    model's parameters. BatchNorm statistics that are sent beside the update are sent whole.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    withheld: Literal["none", "first", "last"] = "none"

    @model_validator(mode="after")
    def _something_is_withheld(self) -> "PartialSharing":
        if self.share == 1 and self.withheld == "none":
            raise ValueError("partial sharing needs a share below 1 or a layer that is withheld, found neither")
        return self

    def release(self, update: Update, rng: Generator) -> Update:
        """The update with ceil(share * coordinates) coordinates of its step, less those of the withheld layer."""
        flat = flattened(update.step)
        kept = torch.zeros_like(flat)
        chosen = torch.randperm(len(flat), generator=rng)[: math.ceil(self.share * len(flat))]
        kept[chosen] = flat[chosen]
        sent = shaped_like(update.step, kept)
        hidden = self._hidden_layer(update.step)
        step = {name: torch.zeros_like(part) if _layer(name) == hidden else part for name, part in sent.items()}
        return dataclasses.replace(update, step=step)

    def message(self, update: Update, sent: Message) -> Message:
        """What may be sent, beside a seed of 64 bits that tells which coordinates those are."""
        size, hidden = coordinates(update.step), self._hidden_layer(update.step)
        shown = size - coordinates({name: part for name, part in update.step.items() if _layer(name) == hidden})
        values = min(sent.values, math.ceil(self.share * size), shown)
        return Message(values, sent.bits, sent.beside + (64 if self.share < 1 else 0))

    def expected(self, step: Params, observed: Params) -> Params:
        """The step where something was sent."""
        return {name: part * (observed[name] != 0) for name, part in step.items()}

    def _hidden_layer(self, step: Params) -> str | None:
        layers = [_layer(name) for name in step]
        return {"none": None, "first": layers[0], "last": layers[-1]}[self.withheld]


def _layer(name: str) -> str:
    """The layer that a parameter belongs to."""
    return name.rpartition(".")[0]
