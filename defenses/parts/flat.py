"""All tensors of an update as one vector, and back."""

import torch
from torch import Tensor

from .._base import Params


def flattened(params: Params) -> Tensor:
    """Every coordinate in one vector, tensor after tensor."""
    return torch.cat([part.flatten() for part in params.values()])


def shaped_like(params: Params, flat: Tensor) -> Params:
    """The tensors whose coordinates are in `flat`, with the names, shapes and dtypes of `params`."""
    pieces = flat.split([part.numel() for part in params.values()])
    return {
        name: piece.view(part.shape).to(part.dtype) for (name, part), piece in zip(params.items(), pieces, strict=True)
    }
