"""What the attacked model makes of images."""

import torch
from torch import Tensor, nn


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
