"""A recording from the files that people have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seethrough.common.errors import InputError

from ..data.npz import Npz
from ..untrusted import UntrustedFileError, parse_yaml, read_yaml
from ..untrusted.tensors import read_tensors
from .format import Kind
from .write import record


def imported(
    files: list[Path],
    folder: Path,
    *,
    sent: Kind,
    examples: int | None,
    recipe: str | None,
    client: str,
    round: int,
    shape: str | None,
    classes: int | None,
    truth: Path | None,
) -> Path:
    """Write a recording of what two files hold: the weights before, and what was sent.

    They may be what torch.save wrote of a state_dict or a list of tensors, safetensors, or an npz archive. `recipe` is a YAML
    file, or YAML itself in braces, with what `local` of a spec holds; `truth` an npz archive of `images` and `labels`.
    Raises: InputError; then nothing is written.
    """
    if len(files) != 2:
        raise InputError(f"FILES: found {len(files)}; allowed: two, the weights before and what was sent (after).")
    before, after = (read_tensors(file) for file in files)
    if sent == "weights" and _are_equal(before, after):
        found = f"found the weights of {files[0]}, an update of zeros"
        raise InputError(f"{files[1]}: {found}; allowed: weights that training moved, or `--sent step` or `gradients`.")
    return record(
        folder,
        before,
        after,
        sent=sent,
        examples=examples,
        recipe=None if recipe is None else _recipe(recipe),
        client=client,
        round=round,
        shape=None if shape is None else _shape(shape),
        classes=classes,
        truth=None if truth is None else _truth(truth),
        order_known=not any(_is_safetensors(file) for file in files),
    )


def _are_equal(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> bool:
    return len(before) == len(after) and all(map(torch.equal, before.values(), after.values()))


def _recipe(text: str) -> Mapping[str, Any]:
    inline = text.lstrip().startswith("{")
    found = (parse_yaml(text, "--recipe") if inline else read_yaml(text)).data
    if not isinstance(found, Mapping):
        raise InputError(
            f"--recipe: found {found!r:.60}; allowed: a mapping, such as {RECIPE}, or a file that holds one."
        )
    return found


RECIPE = "{epochs: 1, batch_size: 32, lr: 0.01, optimizer: {sgd: {momentum: 0.9}}}"


def _shape(text: str) -> list[int]:
    sides = text.replace("x", ",").split(",")
    if len(sides) != 3 or not all(side.strip().isdigit() and int(side) > 0 for side in sides):
        raise InputError(f"--shape: found {text!r:.60}; allowed: channels,height,width, such as 3,32,32.")
    return [int(side) for side in sides]


def _truth(path: Path) -> tuple[Any, Any]:
    images = Npz(file=str(path)).load()
    batch = images.batch(torch.arange(len(images)))
    return batch.inputs, batch.labels


def _is_safetensors(path: Path) -> bool:
    """Whether the file does not keep the order in which tensors were saved."""
    try:
        with open(path, "rb") as file:
            return file.read(2) != b"PK"
    except OSError as error:
        raise UntrustedFileError(
            f"{path}: found no readable file ({error.strerror}); allowed: files that exist."
        ) from error
