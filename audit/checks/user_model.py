"""Whether a model can be audited: found on a few public images, before the first cell, in a second."""

import copy
import inspect
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seethrough.common.threads import one_thread
from seethrough.common.user_code import defined, explained
from seethrough.defenses import Batch

from ..models.parts.fingerprint import fingerprint, forward, tried
from ..models.parts.outputs import parts_of
from ..randomness import drawing_from, stream

CLOSE = 1e-4
ADAPTER = (
    "def forward(self, images): return self.net({given}){part}, with what it takes and returns (docs/your-model.md)"
)
PROBABILITIES = "it returns probabilities (every row adds up to 1); allowed: logits, what comes before the softmax"


def check_built(model: nn.Module, again: nn.Module, batch: Batch, classes: int) -> None:
    """`model` and `again` are the same model, built twice by the same stream, before any weights are put in.

    Raises: ValueError, a sentence without its period, if no audit of it could be right.
    """
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise ValueError(
            "it has layers that take their shape from the first images (lazy ones); allowed: layers of a fixed shape"
        )
    _passed(model, batch, classes)
    with explained(type(model).__name__, "cannot be trained", type(model).forward):
        outputs, _ = tried(model, batch)
    if _are_probabilities(outputs):
        raise ValueError(PROBABILITIES)
    if fingerprint(model, batch) != fingerprint(again, batch):
        raise ValueError(
            "it is not the same when it is built or run twice by the same seed, so it draws chance from elsewhere than torch "
            "(random, numpy, the clock) or counts its calls; allowed: chance that torch.manual_seed decides"
        )


def check(model: nn.Module, batch: Batch, classes: int, size: int) -> None:
    """`model` as it is broadcast to clients with batches of `size` images.

    Raises: ValueError, a sentence without its period, if no audit of it could be right.
    """
    for images in (batch.inputs, *(_repeated(batch, number).inputs for number in (1, size))):
        outputs = _passed(model, Batch(images, batch.labels), classes)
        if not outputs.isfinite().all():
            raise ValueError(
                "it returns numbers that are not finite for public images, at the weights that are broadcast"
            )
    for problem in _of_its_gradient(model, _repeated(batch, size)):
        raise ValueError(problem)


def _passed(model: nn.Module, batch: Batch, classes: int) -> Tensor:
    """What `model` makes of the images in eval mode: logits [n, classes]. Raises: ValueError, if it makes anything else."""
    with explained(type(model).__name__, "cannot be copied"):
        copied = copy.deepcopy(model).eval()
    given = batch.inputs.clone()
    _check_arguments(copied)
    outputs = forward(copied, given)
    if not isinstance(outputs, Tensor):
        raise ValueError(_no_tensor(outputs, classes))
    if list(outputs.shape) != [len(given), classes]:
        raise ValueError(_another_shape(list(outputs.shape), len(given), classes))
    if not outputs.is_floating_point():
        raise ValueError(f"it returns numbers of type {outputs.dtype} for images; allowed: logits of a floating type")
    if not torch.equal(given, batch.inputs):
        raise ValueError("it changes the images that it is given; allowed: a forward that leaves its input as it is")
    with torch.no_grad(), drawing_from(stream(1, "probe")), one_thread():  # more threads would round otherwise
        again = copied(given)
    if not torch.equal(outputs.nan_to_num(), again.nan_to_num()):
        raise ValueError(
            "it returns something else for the same images each time, in eval mode; allowed: a model without chance"
        )
    return outputs


def _check_arguments(model: nn.Module) -> None:
    """Raises: ValueError, if its forward wants more than images."""
    signature = inspect.signature(model.forward)
    try:
        signature.bind(None)
    except TypeError as error:
        raise ValueError(
            f"`{type(model).__name__}.forward` takes {signature}, not images alone ({error}){defined(type(model).forward)}; "
            f"allowed: one argument, by a module around it: {ADAPTER.format(given=_call_of(signature), part='')}"
        ) from error


def _no_tensor(outputs: object, classes: int) -> str:
    """What a model that returns no tensor is answered with."""
    parts, kind = parts_of(outputs), type(outputs).__name__
    inner = [part for part in parts.values() if isinstance(part, Mapping)]
    if inner and len(inner) == len(parts) and all("boxes" in part for part in inner):
        return (
            f"it returns a {kind} of boxes, as object detection does, and what is attacked is the cross-entropy of a "
            f"classifier; needed: one row of logits for each image, [n, {classes}]"
        )
    shapes = ", ".join(f"{name}: {_kind_of(part)}" for name, part in parts.items())
    shown = f" ({shapes:.200})" if shapes else ""
    part = f"[{next(iter(outputs))!r}]" if isinstance(outputs, Mapping) and outputs else "[0]"
    return (
        f"it returns a {kind}{shown} for images, of which no part is named `logits` or alone has their shape; "
        f"allowed: a tensor of logits [n, {classes}], by a module around it: {ADAPTER.format(given='images', part=part)}"
    )


def _call_of(signature: inspect.Signature) -> str:
    """How to call a forward of this signature with images, as far as it tells: what else it needs is left open."""
    needed = [each for each in signature.parameters.values() if each.default is each.empty]
    return ", ".join(
        ("images" if each.kind is not each.KEYWORD_ONLY else f"{each.name}=images")
        if place == 0
        else f"{each.name}=..."
        for place, each in enumerate(
            each for each in needed if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        )
    )


def _kind_of(part: object) -> str:
    return str(list(part.shape)) if isinstance(part, Tensor) else type(part).__name__


def _another_shape(shape: list[int], count: int, classes: int) -> str:
    """What a model whose outputs are no rows of logits is answered with."""
    expected = f"it returns a shape of {shape} for {count} images"
    if shape in ([count], [count, 1]):
        sigmoid = "; of a sigmoid's logit z, torch.cat([0 * z, z], 1) makes two" if classes == 2 else ""
        return (
            f"{expected}, one number an image, as regression or a sigmoid has, and what is attacked is the cross-entropy of "
            f"{classes} classes; allowed: {[count, classes]}{sigmoid}"
        )
    if len(shape) == 4 and shape[:2] == [count, classes]:
        return (
            f"{expected}, logits for each pixel, as segmentation has, and what is attacked is one label an image; allowed: "
            f"{[count, classes]}, such as their mean over the pixels, logits.mean((2, 3))"
        )
    return f"{expected}; allowed: {[count, classes]}"


def _are_probabilities(outputs: Tensor) -> bool:
    sums = outputs.double().sum(dim=1)
    return len(outputs) > 1 and bool((outputs >= 0).all()) and bool(((sums - 1).abs() < CLOSE).all())


def _of_its_gradient(model: nn.Module, batch: Batch) -> Iterator[str]:
    """What is wrong with the gradient of a client's batch, in the model's own mode."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        yield "none of its parameters trains (requires_grad), so clients would send nothing; allowed: at least one"
        return
    with explained(type(model).__name__, f"cannot be trained on a batch of {len(batch)}", type(model).forward):
        outputs, slopes = tried(model, batch)
    if _are_probabilities(outputs):
        yield PROBABILITIES
    known = [slope for slope in slopes if slope is not None]
    if not all(slope.isfinite().all() for slope in known):
        yield "its gradient is not finite for public images, at the weights that are broadcast"
    if not any((slope != 0).any() for slope in known):
        yield "its gradient is zero in every parameter for public images, so clients would send nothing"


def _repeated(batch: Batch, size: int) -> Batch:
    """A batch of `size` examples, over and over those of `batch` where it has fewer."""
    chosen = torch.arange(size) % len(batch)
    return Batch(batch.inputs[chosen], batch.labels[chosen])
