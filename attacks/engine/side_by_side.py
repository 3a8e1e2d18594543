"""Several restarts as one: batched by `torch.func.vmap` where the model allows it, else one after another.

Batching spares several small networks' overhead; a single restart is faster without it, by the kernels of `second_order.py`.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from seethrough.common.memory import is_out_of_memory
from seethrough.defenses import Params

from .no_gradient import Variables

FEWEST = 3  # restarts from which on batching them pays
LARGE = 10**6  # coordinates of a step beyond which it does not: what is spared is overhead, and memory is not


def at_once(restarts: int, step: Params) -> int:
    """How many restarts to compute together: all of them, or one after another, by what was measured (docs/performance.md).

    By numbers alone, not by a measurement on the spot: a repetition must round as the first run did.
    """
    return restarts if restarts >= FEWEST and sum(part.numel() for part in step.values()) <= LARGE else 1


def side_by_side(function: Callable[..., Tensor]) -> Callable[[Variables], Tensor]:
    """The losses [restarts] that `function` makes of each restart's variables.

    What a model does may have no batched form, such as branches that look at numbers, or recurrent layers. Then every
    restart is computed by itself, from the first call on: slower, and the same but for rounding.
    """
    batched = [True]

    def over_all(variables: Variables) -> Tensor:
        if batched[0] and len(variables[0]) > 1:
            try:
                with warnings.catch_warnings():
                    # What has no batching rule of its own is looped over: slower, not different.
                    warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
                    return vmap(function)(*variables)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                batched[0] = False
        return torch.stack([function(*each) for each in zip(*variables, strict=True)])

    return over_all
