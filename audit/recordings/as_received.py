"""The weights of a setting whose clients were recorded."""

import torch
from torch import nn

from seethrough.common.entry import entry

from ..weights import Source, Weights
from .read import fitted_to, recordings_in


@entry
class AsReceived(Weights):
    """The weights that the client received, as recorded."""

    folder: str

    def members(self) -> str:
        return "as the client received them"

    def facts(self) -> str:
        return " ".join(each.files_digest() for rounds in recordings_in(self.folder) for each in rounds)

    def put_into(self, model: nn.Module, images: Source, rng: torch.Generator) -> None:
        fitted_to(model, recordings_in(self.folder)[0][-1])
