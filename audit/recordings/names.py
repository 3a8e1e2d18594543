"""Which tensor is which: by name, then by order and shape."""

from collections.abc import Mapping

from torch import Tensor

from ..untrusted import UntrustedFileError
from ..weights.file import without_wrappers

Tensors = Mapping[str, Tensor]


def nameless(tensors: Tensors) -> bool:
    """Whether they come from a list, so that only their order tells which is which."""
    return all(name.isdigit() for name in tensors)


def is_buffer(name: str) -> bool:
    """Whether a tensor of a state_dict is a statistic of BatchNorm, by its name."""
    return name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")


def is_counter(name: str) -> bool:
    """Whether it counts batches."""
    return name.endswith("num_batches_tracked")


def named_alike(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both, those without names called as the other's, where there are as many of the same shapes."""
    if nameless(first) and not nameless(second):
        second, first = named_alike(second, first)
        return first, second
    shapes = [[tuple(part.shape) for part in each.values()] for each in (first, second)]
    if nameless(second) and not nameless(first) and shapes[0] == shapes[1]:
        return first, dict(zip(first, second.values(), strict=True))
    return first, second


def fitted(found: Tensors, expected: Tensors, source: str, whole: bool, ordered: bool) -> dict[str, Tensor]:
    """`found` under the names of the model's tensors, `expected`: by name, or where no name fits, by order and shape.

    `whole`: all of them must be there, but for counters of batches; else some may be missing. `ordered`: their order is known.
    Raises: UntrustedFileError, naming the tensors that do not fit, with both shapes.
    """
    found = without_wrappers(dict(found), dict(expected))
    if not set(found) & set(expected) and ordered:
        found = _by_order(found, expected, source)
    unknown = [name for name in found if name not in expected]
    missing = [name for name in expected if name not in found and not is_counter(name)] if whole else []
    misshaped = [
        _told(name, found[name], expected[name])
        for name in found
        if name in expected and _differ(found, expected, name)
    ]
    problems = [*misshaped[:3], *_listed("an unexpected", unknown), *_listed("no", missing)]
    if problems:
        allowed = f"the {len(expected)} tensors of the model, by their names or in their order, with their shapes"
        raise UntrustedFileError(f"{source}: found {'; '.join(problems)}; allowed: {allowed}.")
    return dict(found)


def _by_order(found: Tensors, expected: Tensors, source: str) -> dict[str, Tensor]:
    """The tensors called as those at the same place, all of them or all but the counters."""
    counted, uncounted = list(expected), [name for name in expected if not is_counter(name)]
    parameters = [name for name in expected if not is_buffer(name)]
    for names in (counted, uncounted, parameters):
        if len(found) == len(names):
            return dict(zip(names, found.values(), strict=True))
    raise UntrustedFileError(
        f"{source}: found {len(found)} tensors of which none has a name of the model's; allowed: its {len(expected)} "
        "tensors in the order of its state_dict."
    )


def _differ(found: Tensors, expected: Tensors, name: str) -> bool:
    return found[name].shape != expected[name].shape


def _told(name: str, found: Tensor, expected: Tensor) -> str:
    turned = found.dim() == 2 and found.T.shape == expected.shape
    return (
        f"`{name}` of shape {list(found.shape)} where the model has "
        f"{list(expected.shape)}{', which is the same transposed' if turned else ''}"
    )


def _listed(what: str, names: list[str]) -> list[str]:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what} {', '.join(f'`{name}`' for name in names[:3])}{more}"] if names else []
