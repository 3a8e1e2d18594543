"""ResNet-20 for small images (He, Zhang, Ren, Sun, CVPR 2016, section 4.2), with parameter-free (option A) shortcuts."""

import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.attacks import Space
from seethrough.common.entry import entry

from ._base import Model, normalized

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@entry
class ResNet20(Model):
    """Nineteen 3x3 convolutions with BatchNorm in three stages of 16, 32 and 64 channels, mean pooling, and a linear
    classifier. Colored input is normalized by ImageNet's mean and standard deviation unless others are given."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def build(self, space: Space) -> nn.Module:
        colored = space.shape[0] == 3 and self.mean is None and self.std is None
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if colored else (self.mean, self.std)
        return normalized(_ResNet20(space), space, mean, std)


class _ResNet20(nn.Module):
    def __init__(self, space: Space) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(space.shape[0], 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, stride=1)
        self.layer2 = _stage(16, 32, stride=2)
        self.layer3 = _stage(32, 64, stride=2)
        self.linear = nn.Linear(64, space.classes)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        return self.linear(features.mean(dim=(2, 3)))


def _stage(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(before, after, stride), _Block(after, after, 1), _Block(after, after, 1))


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride = stride
        self.padding = (after - before) // 2

    def forward(self, features: Tensor) -> Tensor:
        skipped = features[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(skipped, (0, 0, 0, 0, self.padding, self.padding))
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        return F.relu(residual + shortcut)
