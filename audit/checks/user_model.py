"""Whether a model can be audited: found on a few public images, before the first cell, in a second."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seethrough.common.threads import one_thread
from seethrough.common.user_code import explained
from seethrough.defenses import Batch

from ..models.parts.fingerprint import fingerprint, forward, tried
from ..randomness import drawing_from, stream

CLOSE = 1e-4
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
    outputs = forward(copied, given)
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"it returns a {type(outputs).__name__} for images; allowed: a tensor of logits [n, {classes}]"
        )
    expected = [len(given), classes]
    if list(outputs.shape) != expected:
        raise ValueError(f"it returns a shape of {list(outputs.shape)} for {len(given)} images; allowed: {expected}")
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
