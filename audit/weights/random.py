"""Untrained weights: the state in which the first rounds of federated learning meet the model."""

from pydantic import Field
from torch import Generator, nn

from seethrough.common.entry import entry
from seethrough.defenses import Batch

from ..randomness import drawing_from
from ._base import Source, Weights, set_batchnorm_statistics


@entry
class Random(Weights):
    """The layers' own random initialization, drawn anew for each trial; BatchNorm's running statistics are measured on
    `batchnorm_images` public images, or left at mean 0 and variance 1 where that is 0."""

    batchnorm_images: int = Field(default=500, ge=0)

    def members(self) -> str:
        return "untrained"

    def put_into(self, model: nn.Module, images: Source, rng: Generator) -> None:
        if self.batchnorm_images:
            batch = images()
            with drawing_from(rng):  # dropout before a BatchNorm layer draws
                set_batchnorm_statistics(model, Batch(batch.inputs[: self.batchnorm_images], batch.labels))
