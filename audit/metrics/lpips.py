"""Learned perceptual image patch similarity (Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018), by the `lpips` package."""

import math
import warnings
from functools import cache
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seethrough.common.computing import computing_device
from seethrough.common.entry import entry

from ._backbones import as_pictures, backbone_facts, backbone_weights
from ._base import Metric


@entry
class LPIPS(Metric):
    """LPIPS distance (version 0.1, backbone `net`) of each image, scaled to [-1, 1], gray repeated to three channels, and
    enlarged bilinearly to at least `size` pixels a side. Unavailable where the backbone's weights are not to be had."""

    net: Literal["alex", "squeeze", "vgg"] = "alex"
    size: int = Field(default=64, ge=64, le=1024)

    better = "lower"
    compares = "inputs"

    def limits(self) -> tuple[float, float]:
        return 0.0, math.inf

    def facts(self) -> str:
        return backbone_facts(self.net)

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        first, second = (as_pictures(images, self.size) * 2 - 1 for images in (truth, found))
        distance = _distance(self.net, computing_device())
        with torch.no_grad():
            values = distance(first, second)
        return values.flatten().double().cpu().numpy()


@cache
def _distance(net: str, device: torch.device) -> nn.Module:
    import lpips  # slow to import, and wanted only here

    weights = backbone_weights(net)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The parameter 'pretrained' is deprecated")
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum")
        distance = lpips.LPIPS(net=net, pretrained=True, pnet_rand=True, verbose=False)
    # Each slice of the package's backbone keeps the numbers that its layers have in torchvision's `features`.
    named = {f"features.{name.split('.', 1)[1]}": name for name in distance.net.state_dict()}
    distance.net.load_state_dict({ours: weights[theirs] for theirs, ours in named.items()})
    return distance.to(device).float().eval()
