"""Where a classifier's weights come from."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, nn

from seethrough.common.threads import one_thread
from seethrough.common.user_code import explained
from seethrough.defenses import Batch

Source = Callable[[], Batch]
"""The images of a split, made only when they are needed."""


class Weights:
    """A state for a classifier. Parameters are its fields."""

    def needs_training(self) -> bool:
        """Whether preparing them takes long enough that it is done once, before the cells."""
        return False

    def learns_from(self) -> Literal["public", "private"]:
        """The split that they take what they need from."""
        return "public"

    def members(self) -> str:
        """Whether the network was trained on the private images that are attacked, in words."""
        raise NotImplementedError

    def facts(self) -> str:
        """What beside the fields decides the weights, such as the content of a file. Raises: UntrustedFileError."""
        return ""

    def put_into(self, model: nn.Module, images: Source, rng: Generator) -> None:
        """Set the parameters and buffers of a freshly built `model`, with `images` of the split that they learn from.

        Raises: UntrustedFileError, if a file does not fit.
        """
        raise NotImplementedError


@torch.no_grad()
def set_batchnorm_statistics(model: nn.Module, public: Batch, size: int = 100) -> None:
    """Set every BatchNorm layer's running statistics to their mean over batches of `size` public images.

    A random network's own statistics (mean 0, variance 1) fit no data, so in eval mode its features would explode.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    was_training = model.training
    model.train()
    with one_thread(), explained(type(model).__name__, "cannot take public images in train mode", type(model).forward):
        for inputs in public.inputs.split(size):
            if len(inputs) > 1:
                model(inputs)
    model.train(was_training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
