"""Learned perceptual image patch similarity (Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018), by the `lpips` package."""

import math
import warnings
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seethrough.common.computing import computing_device
from seethrough.common.entry import entry

from ..untrusted import sha256_of
from ._base import Metric, MetricNotApplicableError, UnavailableError

BACKBONES = {
    "alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "squeeze": ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
    "vgg": ("vgg16", "vgg16-397923af.pth"),
}


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
        try:
            return sha256_of(backbone_file(self.net))
        except UnavailableError:
            return "unavailable"

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        if truth.shape[1] not in (1, 3):
            raise MetricNotApplicableError(f"LPIPS takes pictures of 1 or 3 channels, found {truth.shape[1]}")
        distance = _distance(self.net, computing_device())
        with torch.no_grad():
            values = distance(self._prepared(truth), self._prepared(found))
        return values.flatten().double().cpu().numpy()

    def _prepared(self, inputs: Tensor) -> Tensor:
        colored = inputs.detach().to(computing_device()).float().expand(-1, 3, -1, -1) * 2 - 1
        factor = max(1.0, self.size / min(colored.shape[2:]))
        height, width = (round(side * factor) for side in colored.shape[2:])
        return F.interpolate(colored, size=(height, width), mode="bilinear", align_corners=False)


def backbone_file(net: str) -> Path:
    """Where the backbone's weights would be. Raises: UnavailableError, with the remedy, if they are not there."""
    model, file = BACKBONES[net]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise UnavailableError(
            f"the weights of LPIPS' backbone `{net}` are not on this machine; with internet access, get them by "
            f"`python -c \"import torchvision; torchvision.models.{model}(weights='DEFAULT')\"`, or set TORCH_HOME to "
            f"a folder that holds hub/checkpoints/{file}"
        )
    return path


@cache
def _distance(net: str, device: torch.device) -> nn.Module:
    import lpips  # slow to import, and wanted only here

    path = backbone_file(net)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The parameter 'pretrained' is deprecated")
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum")
        distance = lpips.LPIPS(net=net, pretrained=True, pnet_rand=True, verbose=False)
    # Each slice of the package's backbone keeps the numbers that its layers have in torchvision's `features`.
    named = {f"features.{name.split('.', 1)[1]}": name for name in distance.net.state_dict()}
    distance.net.load_state_dict({ours: weights[theirs] for theirs, ours in named.items()})
    return distance.to(device).float().eval()
