"""Images that stand in for public data where there are none."""

from functools import cache

import torch
from pydantic import Field

from seethrough.attacks.parts.image_priors import photograph_like
from seethrough.common.entry import entry
from seethrough.common.threads import one_thread

from .._base import Data, Images


@entry
class Synthetic(Data):
    """`count` random images with what is common to photographs, of random classes: what an attacker has who has no data."""

    shape: tuple[int, int, int]
    classes: int = Field(ge=2)
    count: int = Field(default=1000, ge=1)

    def load(self) -> Images:
        return _drawn(self.shape, self.classes, self.count)


@cache
def _drawn(shape: tuple[int, int, int], classes: int, count: int) -> Images:
    fixed = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    with one_thread():  # more of them would round otherwise, and these images are to be the same everywhere
        pixels = (255 * photograph_like(count, shape, fixed)).round().to(torch.uint8)
    return Images(pixels, labels[torch.randperm(count, generator=fixed)], classes)
