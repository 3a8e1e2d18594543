"""Logits among what a model returns: many return them beside a loss, features or auxiliary heads."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn


def give_logits(model: nn.Module, classes: int) -> None:
    """Let `model` return its logits alone, where it returns more and there is no doubt which part they are: what is named
    `logits`, or else the only part of the shape [n, classes]. Whatever else it returns, it returns as before."""
    model.register_forward_hook(partial(_logits, classes))


def parts_of(output: object) -> dict[str, object]:
    """What a model returns by the names or places of its parts; empty for a tensor, and for anything that has no parts."""
    if isinstance(output, Mapping):
        return {repr(name): part for name, part in output.items()}
    if isinstance(output, (tuple, list)):
        return {str(place): part for place, part in enumerate(output)}
    return {f".{name}": part for name, part in getattr(output, "__dict__", {}).items() if isinstance(part, Tensor)}


def _logits(classes: int, model: nn.Module, inputs: tuple[object, ...], output: object) -> object:
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    fitting = [part for part in parts_of(output).values() if isinstance(part, Tensor) and _fits(part, classes)]
    return fitting[0] if len(fitting) == 1 else output


def _fits(part: Tensor, classes: int) -> bool:
    return part.is_floating_point() and part.dim() == 2 and part.shape[1] == classes
