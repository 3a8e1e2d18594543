"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004), as scikit-image computes it."""

import numpy as np
from torch import Tensor

from seethrough.common.entry import entry

from ._base import Metric, MetricNotApplicableError, as_images

WINDOW = 7  # pixels a side


@entry
class SSIM(Metric):
    """Structural similarity of each image at data range 1, with a uniform 7x7 window, in [-1, 1]."""

    better = "higher"
    compares = "inputs"

    def limits(self) -> tuple[float, float]:
        return -1.0, 1.0

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        from skimage.metrics import structural_similarity  # slow to import, and wanted only here

        height, width = truth.shape[2:]
        if min(height, width) < WINDOW:
            raise MetricNotApplicableError(
                f"pictures of {height}x{width} pixels are smaller than SSIM's window of {WINDOW}"
            )
        pairs = zip(as_images(truth), as_images(found), strict=True)
        return np.array(
            [structural_similarity(a, b, data_range=1.0, win_size=WINDOW, channel_axis=-1) for a, b in pairs]
        )
