"""The network that breaching's comparisons use, for benchmarks that are to run without it."""

from torch import nn

PLAN = (1, 2, 2, 4, 4, 4, "pool", 4, 4, "pool")  # channels of each convolution in widths; max pooling of 3 x 3


def convnet(width: int = 16, classes: int = 10) -> nn.Module:
    """Eight convolutions of 3 x 3, each with BatchNorm and ReLU, for images of 32 x 32 pixels in three channels."""
    layers: list[nn.Module] = []
    channels = 3
    for each in PLAN:
        if isinstance(each, str):
            layers.append(nn.MaxPool2d(3))
            continue
        layers += [nn.Conv2d(channels, each * width, 3, padding=1), nn.BatchNorm2d(each * width), nn.ReLU()]
        channels = each * width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(9 * channels, classes))
