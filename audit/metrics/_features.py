"""What networks make of images: the attacked model, and one that knows nothing of it."""

from functools import cache

import torch
from torch import Tensor, nn

from seethrough.common.computing import computing_device

from ._backbones import as_pictures, backbone_weights

SMALLEST = 64  # pixels a side of an image that SqueezeNet looks at


@torch.no_grad()
def features(model: nn.Module, images: Tensor) -> Tensor:
    """What the model's last linear layer reads of images [n, ...], in one row an image: [n, features]; its output where it
    has no such layer."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    read: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0])) for layer in layers[-1:]]
    logits = model(images.to(layers[-1].weight if layers else images))
    for hook in hooks:
        hook.remove()
    return (read[-1] if read else logits).flatten(1)


@torch.no_grad()
def squeezenet_features(images: Tensor) -> Tensor:
    """The mean over places of what the last features of SqueezeNet 1.1, trained on ImageNet, make of images [n, 1 or 3, ...]
    in [0, 1]: [n, 512]. Raises: UnavailableError; MetricNotApplicableError."""
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pictures = as_pictures(images, SMALLEST)
    net = _squeezenet(computing_device())
    return net((pictures - mean.to(pictures)) / std.to(pictures)).mean(dim=(2, 3)).cpu()


@cache
def _squeezenet(device: torch.device) -> nn.Module:
    import torchvision  # slow to import, and wanted only here

    with torch.random.fork_rng(devices=[]):  # its initialization draws from the global generator
        net = torchvision.models.squeezenet1_1()
    net.load_state_dict(backbone_weights("squeeze"))
    return net.features.to(device).float().eval()
