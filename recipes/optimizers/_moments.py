"""The step that Adam and AdamW share."""

import torch

from ._base import State, Tensors, root


def moved(slopes: Tensors, state: State, lr: float, beta1: float, beta2: float, eps: float) -> tuple[Tensors, State]:
    """The change without any weight decay, and the moments afterward."""
    any_slope = next(iter(slopes.values()))
    nothing = {name: torch.zeros_like(slope) for name, slope in slopes.items()}
    first, second = state.get("first", nothing), state.get("second", nothing)
    steps = state["steps"]["all"] + 1 if state else torch.ones((), dtype=torch.float64, device=any_slope.device)
    first = {name: beta1 * first[name] + (1 - beta1) * slope for name, slope in slopes.items()}
    second = {name: beta2 * second[name] + (1 - beta2) * slope.square() for name, slope in slopes.items()}
    of_first, of_second = ((1 - beta**steps).to(any_slope.dtype) for beta in (beta1, beta2))
    change = {name: -lr / of_first * first[name] / (root(second[name] / of_second) + eps) for name in slopes}
    return change, {"first": first, "second": second, "steps": {"all": steps}}
