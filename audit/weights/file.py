"""Weights from a file."""

from typing import Literal

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from seethrough.common.entry import entry

from ..models import bare
from ..untrusted import UntrustedFileError, sha256_of
from ..untrusted.safetensors import check_tensors
from ..untrusted.tensors import read_tensors
from ._base import Source, Weights

WRAPPERS = ("module.", "_orig_mod.")  # of torch's DataParallel, and of torch.compile


@entry
class File(Weights):
    """The tensors of a safetensors file, of a state dict by torch.save or of an npz archive, named as in the network's own
    state_dict, without its input normalization.

    A state dict may stand in a checkpoint, under `state_dict`, `model_state_dict`, `model`, `weights` or `net`. Prefixes that
    DataParallel and torch.compile put before every name are understood; counters of batches seen may be missing. Floats of
    another precision are converted to the network's. Nothing is unpickled.
    `trained_on` says what the reader should know: whether the private images that are attacked were among those it was trained
    on."""

    path: str = Field(min_length=1)
    trained_on: Literal["unknown", "private images", "other images"] = "unknown"

    def learns_from(self) -> Literal["public", "private"]:
        return "private" if self.trained_on == "private images" else "public"

    def members(self) -> str:
        return {
            "unknown": "not known whether the attacked images are members of its training set",
            "private images": "the attacked images are members of its training set, as the spec states",
            "other images": "the attacked images are no members of its training set, as the spec states",
        }[self.trained_on]

    def facts(self) -> str:
        return sha256_of(self.path)

    def put_into(self, model: nn.Module, images: Source, rng: Generator) -> None:
        net = bare(model)
        counters = {name: value for name, value in net.state_dict().items() if name.endswith("num_batches_tracked")}
        expected = {name: value for name, value in net.state_dict().items() if name not in counters}
        read = without_wrappers(read_tensors(self.path), expected)
        found = {
            name: _as_precise(value, expected.get(name), f"{self.path}: found {name!r}")
            for name, value in read.items()
            if name not in counters
        }
        check_tensors(found, expected, self.path)
        net.load_state_dict({**counters, **found})


def _as_precise(found: Tensor, expected: Tensor | None, said: str) -> Tensor:
    """`found` in the precision of `expected`, if both are floats."""
    if expected is None or not (found.is_floating_point() and expected.is_floating_point()):
        return found
    converted = found.to(expected.dtype)
    if not torch.isfinite(converted).all():
        raise UntrustedFileError(
            f"{said} with numbers past {expected.dtype}; allowed: numbers that the network can hold."
        )
    return converted


def without_wrappers(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """`found` without the prefix that a wrapper has put before every name, unless the network's own names have it."""
    for prefix in WRAPPERS:
        if _all_start(found, prefix) and not _all_start(expected, prefix):
            return without_wrappers({name.removeprefix(prefix): each for name, each in found.items()}, expected)
    return found


def _all_start(tensors: dict[str, Tensor], prefix: str) -> bool:
    return bool(tensors) and all(name.startswith(prefix) for name in tensors)
