"""Peak signal-to-noise ratio of the attacker's best guess in squared error."""

import numpy as np
from pydantic import Field
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric
from .psnr import PSNR


@entry
class ShrunkPSNR(Metric):
    """Peak signal-to-noise ratio of each image as `psnr` takes it, after the attacker drew its pictures toward the mean
    public image by its own estimate of their error: like for like with a guesser who hands in that mean."""

    cap: float = Field(default=60.0, gt=0)

    better = "higher"
    compares = "shrunk"

    def limits(self) -> tuple[float, float]:
        return 0.0, self.cap

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        return PSNR(cap=self.cap).score(truth, found)
