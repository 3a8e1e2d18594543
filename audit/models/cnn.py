"""The classifier that introductions to MNIST begin with: two convolutions with pooling and a hidden linear layer."""

from pydantic import Field
from torch import nn

from seethrough.attacks import Space
from seethrough.common.entry import entry

from ._base import Model


@entry
class CNN(Model):
    """Two 3x3 convolutions with ReLU, of `width` and 2 x `width` channels, each halved by max pooling, a linear layer of
    `hidden` units with ReLU, and a linear classifier."""

    width: int = Field(default=32, ge=1, le=1024)
    hidden: int = Field(default=128, ge=1, le=65_536)

    def build(self, space: Space) -> nn.Module:
        channels, height, width = space.shape
        quarter = -(-height // 4) * -(-width // 4)
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(self.width, 2 * self.width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(2 * self.width * quarter, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, space.classes),
        )
