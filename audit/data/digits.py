"""scikit-learn's handwritten digits: the embedded default, which needs no download."""

from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field

from seethrough.common.entry import entry

from ._base import Data, Images


@entry
class Digits(Data):
    """1,797 handwritten digits (UCI, 8x8, 17 gray levels), enlarged bilinearly to `size` x `size` pixels."""

    published: ClassVar[bool] = True

    size: int = Field(default=28, ge=8, le=256)

    def load(self) -> Images:
        return _digits(self.size)


@cache
def _digits(size: int) -> Images:
    from sklearn.datasets import load_digits  # slow to import, and wanted only here

    bunch = load_digits()
    small = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    pixels = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
    return Images(pixels, torch.tensor(bunch.target, dtype=torch.int64), classes=10)
