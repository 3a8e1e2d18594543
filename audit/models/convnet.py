"""A small convolutional network with rectified units."""

from pydantic import Field
from torch import nn

from seethrough.attacks import Space
from seethrough.common.entry import entry

from ._base import Model


@entry
class ConvNet(Model):
    """Three 3x3 convolutions with ReLU, of `width`, 2 x and 4 x `width` channels, the last two of stride 2, and a linear
    classifier; with `batchnorm`, a BatchNorm layer before each ReLU."""

    width: int = Field(default=16, ge=1, le=1024)
    batchnorm: bool = False

    def build(self, space: Space) -> nn.Module:
        channels, height, width = space.shape
        quarter = -(-height // 4) * -(-width // 4)
        return nn.Sequential(
            *self._block(channels, self.width, stride=1),
            *self._block(self.width, 2 * self.width, stride=2),
            *self._block(2 * self.width, 4 * self.width, stride=2),
            nn.Flatten(),
            nn.Linear(4 * self.width * quarter, space.classes),
        )

    def _block(self, before: int, after: int, stride: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(after)] if self.batchnorm else []
        return [nn.Conv2d(before, after, 3, stride=stride, padding=1), *norm, nn.ReLU()]
