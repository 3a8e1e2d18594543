"""Writing a recording: the whole folder, or nothing of it."""

import io
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from seethrough.common.errors import InputError
from seethrough.common.files import sync_directory, write_bytes_atomically
from seethrough.recipes import Recipe

from .digest import digest_of
from .format import BEFORE, FACTS, SENT, TRUTH, Facts, Kind, facts_from
from .names import is_buffer, named_alike, nameless

Weights = nn.Module | Mapping[str, Any] | Sequence[Any]
"""A model, its state_dict, or the values of that in a list, as Flower's NumPyClient sends them."""


def record(
    folder: str | Path,
    before: Weights,
    after: Weights,
    *,
    sent: Kind = "weights",
    examples: int | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    client: str = "client",
    round: int = 1,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    truth: tuple[Any, Any] | None = None,
    started_from: str | None = None,
    order_known: bool = True,
    framework: str = "torch",
    version: str = torch.__version__,
) -> Path:
    """Write down what one client received and what it sent, as a folder that `seethrough run` can attack; returns that folder.

    `before` and `after` are models, state_dicts, or lists of arrays in the order of a state_dict. With `sent="step"` or
    `"gradients"`, `after` holds the step or the gradient instead. `recipe` is how the client trained, as `local` of a spec, if
    that is known; `shape` (channels, height, width) and `classes` are those of the data. `truth`, for scores, is a
    pair of images [n, channels, height, width] in [0, 1] and labels [n]; no attack sees it, but for their number, which is
    that of `examples` unless this is given. `started_from` is
    `seethrough.digest_of` of the weights that the client started from, where it says so itself.

    Raises: InputError, a sentence, if anything does not fit or the folder is not free; then nothing is written.
    """
    if shape is not None and len(shape) != 3:
        raise InputError(f"shape: found {list(shape)}; allowed: (channels, height, width), such as (1, 28, 28).")
    if examples is None:
        examples = _number_in(truth)
    first, second = named_alike(_tensors(before, "before"), _tensors(after, "after"))
    facts = facts_from(
        {
            "sent": sent,
            "client": client,
            "round": round,
            "examples": None if examples is None else int(examples),
            "recipe": recipe.written() if isinstance(recipe, Recipe) else recipe,
            "shape": None if shape is None else list(shape),
            "classes": classes,
            "parameters": list(first) if order_known and not nameless(first) else [],
            "buffers_sent": any(is_buffer(name) for name in second),
            "framework": {"name": framework, "version": str(version)},
            "before_sha256": digest_of(first),
            "started_from_sha256": started_from,
        },
        "the recording",
    )
    files = {BEFORE: safetensors.torch.save(first), SENT: safetensors.torch.save(second), FACTS: facts.text().encode()}
    if truth is not None:
        files[TRUTH] = _truth(truth, facts)
    _write(Path(folder), files)
    return Path(folder)


def _tensors(weights: Weights, what: str) -> dict[str, Tensor]:
    """Copies on the CPU by name, "0", "1", ... for those of a list. Raises: InputError, for anything else."""
    if isinstance(weights, nn.Module):
        weights = weights.state_dict()
    if not isinstance(weights, Mapping | Sequence) or isinstance(weights, str):
        allowed = "a model, a state_dict or a list of arrays"
        raise InputError(f"{what}: found {weights!r:.60} of type {type(weights).__name__}; allowed: {allowed}.")
    items = weights.items() if isinstance(weights, Mapping) else ((str(i), each) for i, each in enumerate(weights))
    found = {}
    for name, value in items:
        try:
            tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        except TypeError as error:
            kind = type(value).__name__
            raise InputError(f"{what}, {name}: found a {kind}; allowed: tensors or arrays of numbers.") from error
        found[str(name)] = tensor.to("cpu", copy=True).contiguous()
    if not found:
        raise InputError(f"{what}: found no tensor at all; allowed: a model, a state_dict or a list of arrays.")
    return found


def _number_in(truth: Any) -> int | None:
    """The examples of a truth, where it has the form of one."""
    if not isinstance(truth, tuple | list) or len(truth) != 2:
        return None
    sizes = np.shape(truth[1].cpu() if isinstance(truth[1], Tensor) else truth[1])
    return sizes[0] if len(sizes) == 1 else None


def _truth(truth: Any, facts: Facts) -> bytes:
    if not isinstance(truth, tuple | list) or len(truth) != 2:
        raise InputError(f"truth: found a {type(truth).__name__}; allowed: a pair of images and labels.")
    images, labels = truth
    pictures, classes = (np.asarray(each.cpu() if isinstance(each, Tensor) else each) for each in (images, labels))
    if pictures.ndim != 4 or classes.ndim != 1 or len(pictures) != len(classes):
        raise InputError(
            f"truth: found images of shape {list(pictures.shape)} and labels of shape {list(classes.shape)}; allowed: "
            "[n, channels, height, width] and [n]."
        )
    if facts.shape is not None and pictures.shape[1:] != facts.shape:
        found = f"found images of shape {list(pictures.shape[1:])}"
        raise InputError(f"truth: {found}; allowed: {list(facts.shape)}, channels first, as `shape` says.")
    if (
        not np.isfinite(pictures).all()
        or pictures.min() < 0
        or pictures.max() > (255 if pictures.dtype == np.uint8 else 1)
    ):
        found = f"found values from {pictures.min()} to {pictures.max()}"
        raise InputError(f"truth: {found}; allowed: [0, 1], or uint8 from 0 to 255.")
    if facts.classes is not None and len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < facts.classes:
        found = f"found labels from {int(classes.min())} to {int(classes.max())}"
        raise InputError(f"truth: {found}; allowed: 0 to {facts.classes - 1}, as there are {facts.classes} classes.")
    if facts.examples not in (None, len(pictures)):
        raise InputError(f"truth: found {len(pictures)} examples; allowed: {facts.examples}, as `examples` says.")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, images=pictures.transpose(0, 2, 3, 1), labels=classes.astype(np.int64))
    return buffer.getvalue()


def _write(place: Path, files: dict[str, bytes]) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        allowed = "a name that is free, or an empty folder"
        raise InputError(f"{place}: found a file, or a folder that is not empty; allowed: {allowed}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.parent / f".{place.name}.{secrets.token_hex(8)}.tmp"
    temporary.mkdir()
    try:
        for name, content in files.items():
            write_bytes_atomically(temporary / name, content)
        if place.exists():
            place.rmdir()
        temporary.rename(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(place.parent)
