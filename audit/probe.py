"""What a model is, and whether it can be audited: found on a few public images, before the first cell, in a second."""

import copy
import hashlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks._generator import one_thread
from attacks._user_code import explained
from audit._stream import drawing_from, stream
from defenses import Batch

CLOSE = 1e-4


def fingerprint(model: nn.Module, batch: Batch) -> str:
    """SHA-256 of all that decides what clients send: the modules and their settings, every parameter and buffer, which of them
    train, the mode, and what the model makes of `batch`, forward and backward. The file that defines it does not enter."""
    digest = hashlib.sha256(f"{model!r} {model.training}".encode())
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__module__}.{type(module).__qualname__} {module.training}".encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}".encode())
        digest.update(_bytes(tensor))
    outputs, slopes = _tried(model, batch)
    for tensor in (outputs, *(slope for slope in slopes if slope is not None)):
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def check(model: nn.Module, batch: Batch, classes: int) -> None:
    """Raises: ValueError, a sentence without its period, if no audit of the model could be right."""
    with explained(_named(model), "cannot take the images"), torch.no_grad(), torch.random.fork_rng(devices=[]):
        tried = copy.deepcopy(model).eval()
        first, second = (tried(batch.inputs) for _ in range(2))
    if not isinstance(first, Tensor):
        raise ValueError(f"it returns a {type(first).__name__} for images; allowed: a tensor of logits [n, {classes}]")
    expected = [len(batch), classes]
    if list(first.shape) != expected:
        raise ValueError(f"it returns a shape of {list(first.shape)} for {len(batch)} images; allowed: {expected}")
    for problem in _problems(model, batch, first, second):
        raise ValueError(problem)


def reaches_pixels(model: nn.Module, batch: Batch) -> bool:
    """Whether the loss has a slope in any pixel: without one, nothing can be searched for."""
    images = batch.inputs.clone().requires_grad_()
    with drawing_from(stream(0, "probe")), torch.enable_grad():
        outputs = copy.deepcopy(model)(images)
        if not outputs.requires_grad:
            return False
        (slope,) = torch.autograd.grad(F.cross_entropy(outputs, batch.labels), images, allow_unused=True)
    return slope is not None and bool((slope != 0).any())


def _problems(model: nn.Module, batch: Batch, first: Tensor, second: Tensor) -> Iterator[str]:
    if not first.isfinite().all():
        yield "it returns numbers that are not finite for public images, at the weights that are broadcast"
    if not torch.equal(first, second):
        yield "it returns something else for the same images each time, in eval mode; allowed: a model without chance"
    sums = first.double().sum(dim=1)
    if len(first) > 1 and bool((first >= 0).all()) and bool(((sums - 1).abs() < CLOSE).all()):
        yield "it returns probabilities (every row adds up to 1); allowed: logits, what comes before the softmax"
    if not any(parameter.requires_grad for parameter in model.parameters()):
        yield "none of its parameters trains (requires_grad), so clients would send nothing; allowed: at least one"
        return
    with explained(_named(model), "cannot be differentiated"):
        _, slopes = _tried(model, batch)
    known = [slope for slope in slopes if slope is not None]
    if not all(slope.isfinite().all() for slope in known):
        yield "its gradient is not finite for public images, at the weights that are broadcast"
    if not any((slope != 0).any() for slope in known):
        yield "its gradient is zero in every parameter for public images, so clients would send nothing"


def _tried(model: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
    """Logits [n, classes] in the model's own mode, and the slopes of their loss in every parameter that trains."""
    tried = copy.deepcopy(model)
    trained = [parameter for parameter in tried.parameters() if parameter.requires_grad]
    with drawing_from(stream(0, "probe")), one_thread(), torch.enable_grad():
        outputs = tried(batch.inputs)
        if not trained or not outputs.requires_grad:
            return outputs.detach(), []
        slopes = torch.autograd.grad(F.cross_entropy(outputs, batch.labels), trained, allow_unused=True)
    return outputs.detach(), list(slopes)


def _named(model: nn.Module) -> str:
    return type(model).__name__


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
