"""Networks trained on ImageNet by which metrics judge images, where their weights are on this machine."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from seethrough.common.computing import computing_device
from seethrough.defenses import Params

from ..untrusted import sha256_of
from ._base import MetricNotApplicableError, UnavailableError

BACKBONES = {
    "alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "squeeze": ("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
    "vgg": ("vgg16", "vgg16-397923af.pth"),
}


def backbone_file(net: str) -> Path:
    """Where the backbone's weights would be. Raises: UnavailableError, with the remedy, if they are not there."""
    model, file = BACKBONES[net]
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise UnavailableError(
            f"the weights of the backbone `{net}` are not on this machine; with internet access, get them by "
            f"`python -c \"import torchvision; torchvision.models.{model}(weights='DEFAULT')\"`, or set TORCH_HOME to "
            f"a folder that holds hub/checkpoints/{file}"
        )
    return path


def backbone_facts(net: str) -> str:
    """What its weights are, as it enters the keys of cells."""
    try:
        return sha256_of(backbone_file(net))
    except UnavailableError:
        return "unavailable"


def backbone_weights(net: str) -> Params:
    """The backbone's weights by their names in torchvision. Raises: UnavailableError."""
    weights: Params = torch.load(backbone_file(net), map_location="cpu", weights_only=True)
    return weights


def as_pictures(inputs: Tensor, size: int) -> Tensor:
    """Images [n, 1 or 3, ...] in [0, 1] on the `computing_device`, gray repeated to three channels, enlarged bilinearly to at
    least `size` pixels a side. Raises: MetricNotApplicableError, for other channels."""
    if inputs.shape[1] not in (1, 3):
        raise MetricNotApplicableError(
            f"networks of ImageNet take pictures of 1 or 3 channels, found {inputs.shape[1]}"
        )
    colored = inputs.detach().to(computing_device()).float().expand(-1, 3, -1, -1)
    factor = max(1.0, size / min(colored.shape[2:]))
    height, width = (round(side * factor) for side in colored.shape[2:])
    return F.interpolate(colored, size=(height, width), mode="bilinear", align_corners=False)
