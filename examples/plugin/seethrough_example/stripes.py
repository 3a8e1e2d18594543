"""Made-up images, for trying things out: stripes whose angle tells the class."""

import math

import torch
from pydantic import Field

from seethrough import Data, entry
from seethrough.audit.data import Images


@entry
class Stripes(Data):
    """`count` gray images of 16 x 16 pixels with stripes at one of `classes` angles, of random width and place."""

    count: int = Field(default=400, ge=10)
    classes: int = Field(default=4, ge=2, le=20)

    def load(self) -> Images:
        rng = torch.Generator().manual_seed(0)
        labels = torch.arange(self.count) % self.classes
        angle = (labels * math.pi / self.classes)[:, None, None]
        width, shift, noise = (torch.rand((self.count, 1, 1), generator=rng) for _ in range(3))
        rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        wave = torch.sin((rows * angle.sin() + columns * angle.cos()) * (0.6 + width) + 2 * math.pi * shift)
        grain = 0.1 * noise * torch.rand((self.count, 16, 16), generator=rng)
        return Images(((0.45 + 0.4 * wave + grain)[:, None]).clamp(0, 1), labels, self.classes)
