"""Several restarts as one: batched by `torch.func.vmap` where the model allows it, else one after another."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from .no_gradient import Variables


def side_by_side(function: Callable[..., Tensor]) -> Callable[[Variables], Tensor]:
    """The losses [restarts] that `function` makes of each restart's variables.

    What the model does may have no batched form, such as branches that look at numbers, or recurrent layers. Then every
    restart is computed by itself, from the first call on: slower, and the same but for rounding.
    """
    batched = [True]

    def over_all(variables: Variables) -> Tensor:
        if batched[0]:
            try:
                with warnings.catch_warnings():
                    # What has no batching rule of its own is looped over: slower, not different.
                    warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
                    return vmap(function)(*variables)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                batched[0] = False
        return torch.stack([function(*each) for each in zip(*variables, strict=True)])

    return over_all
