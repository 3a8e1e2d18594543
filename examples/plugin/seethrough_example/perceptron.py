"""A perceptron with one hidden layer."""

from pydantic import Field
from torch import nn

from seethrough import Model, Space, entry


@entry
class Perceptron(Model):
    """A linear layer of `hidden` units with ReLU, and a linear classifier."""

    hidden: int = Field(default=64, ge=1, le=65_536)

    def build(self, space: Space) -> nn.Module:
        channels, height, width = space.shape
        first = nn.Linear(channels * height * width, self.hidden)
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(self.hidden, space.classes))
