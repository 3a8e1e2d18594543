"""The LeNet with sigmoids that "Deep Leakage from Gradients" attacks (Zhu, Liu, Han, NeurIPS 2019, section 4.1)."""

from pydantic import Field
from torch import nn

from seethrough.attacks import Space
from seethrough.common.entry import entry

from ._base import Model


@entry
class LeNet(Model):
    """Three 5x5 convolutions with sigmoids, of strides 2, 2 and 1, and a linear classifier."""

    width: int = Field(default=12, ge=1, le=1024)

    def build(self, space: Space) -> nn.Module:
        channels, height, width = space.shape
        quarter = -(-height // 4) * -(-width // 4)
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(self.width, self.width, 5, stride=2, padding=2),
            nn.Sigmoid(),
            nn.Conv2d(self.width, self.width, 5, stride=1, padding=2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(self.width * quarter, space.classes),
        )
