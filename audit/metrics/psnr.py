"""Peak signal-to-noise ratio."""

import numpy as np
from pydantic import Field
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric, as_images


@entry
class PSNR(Metric):
    """Peak signal-to-noise ratio in dB of each image at data range 1, capped at `cap` (an exact copy has no noise)."""

    cap: float = Field(default=60.0, gt=0)

    better = "higher"
    compares = "inputs"

    def limits(self) -> tuple[float, float]:
        return 0.0, self.cap

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        from skimage.metrics import mean_squared_error  # slow to import, and wanted only here

        pairs = zip(as_images(truth), as_images(found), strict=True)
        errors = np.array([mean_squared_error(original, copy) for original, copy in pairs])
        return np.minimum(self.cap, -10 * np.log10(np.maximum(errors, 10 ** (-self.cap / 10))))
