"""torchvision's data sets by name."""

from functools import cache
from typing import ClassVar, Literal

import torch
from pydantic import Field

from seethrough.common.entry import entry

from ..untrusted import UntrustedFileError
from ._base import Data, Images

Name = Literal["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100"]


@entry
class Torchvision(Data):
    """MNIST, FashionMNIST, CIFAR10 or CIFAR100, training and test images together, read from (or put into) `root`."""

    published: ClassVar[bool] = True

    dataset: Name
    root: str = Field(default="data", min_length=1)
    download: bool = False

    def load(self) -> Images:
        return _load(self.dataset, self.root, self.download)


@cache
def _load(name: Name, root: str, download: bool) -> Images:
    import torchvision  # slow to import, and wanted only here

    source = getattr(torchvision.datasets, name)
    try:
        parts = [source(root=root, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise UntrustedFileError(
            f"{root}: {name} cannot be read from this folder ({error}); allowed: a folder in torchvision's layout, "
            "or `download: true`"
        ) from error
    pixels = torch.cat([torch.as_tensor(part.data) for part in parts])
    labels = torch.cat([torch.as_tensor(part.targets, dtype=torch.int64) for part in parts])
    channels_first = pixels[:, None] if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    return Images(channels_first.contiguous(), labels, classes=len(parts[0].classes), names=tuple(parts[0].classes))
