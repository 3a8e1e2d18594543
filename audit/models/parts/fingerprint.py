"""What a model is, whatever file its code stands in."""

import copy
import hashlib
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seethrough.common.threads import one_thread
from seethrough.common.user_code import explained, is_the_users
from seethrough.common.user_sources import code_of
from seethrough.defenses import Batch

from ...randomness import drawing_from, stream

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(model: nn.Module, batch: Batch) -> str:
    """SHA-256 of all that decides what clients send: the modules and their settings, every parameter and buffer, which of them
    train, the mode, and what the model makes of `batch`: forward and backward in its mode, and forward in eval mode.

    Raises: ValueError, a sentence without its period, if the model cannot be tried.
    """
    name = type(model).__name__
    with explained(name, "cannot be written out", type(model).__repr__):
        digest = hashlib.sha256(f"{ADDRESS.sub('', repr(model))} {model.training}".encode())
    for path, module in model.named_modules():
        kind = type(module)
        digest.update(f"{path} {kind.__module__}.{kind.__qualname__} {module.training} {_code(kind)}".encode())
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{path} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad}".encode())
        digest.update(_bytes(tensor))
    mode = "train" if model.training else "eval"
    with explained(name, f"cannot be run and differentiated in {mode} mode", type(model).forward):
        outputs, slopes = tried(model, batch)
    evaluated = forward(copy.deepcopy(model).eval(), batch.inputs) if model.training else outputs
    for tensor in (outputs, evaluated, *(slope for slope in slopes if slope is not None)):
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def tried(model: nn.Module, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
    """Logits [n, classes] in the model's own mode, and the slopes of their loss in every parameter that trains; none, if the
    logits depend on no parameter. Always with the same chance, on one thread."""
    copied = copy.deepcopy(model)
    trained = [parameter for parameter in copied.parameters() if parameter.requires_grad]
    with drawing_from(stream(0, "probe")), one_thread(), torch.enable_grad():
        outputs = copied(batch.inputs.clone())
        if not trained or not outputs.requires_grad:
            return outputs.detach(), []
        slopes = torch.autograd.grad(F.cross_entropy(outputs, batch.labels), trained, allow_unused=True)
    return outputs.detach(), list(slopes)


@torch.no_grad()
def forward(model: nn.Module, inputs: Tensor) -> Tensor:
    """What `model` returns for images [n, ...]. Raises: ValueError, a sentence without its period, if it cannot take them."""
    name = type(model).__name__
    with (
        explained(name, f"cannot take a batch of {len(inputs)} ({list(inputs.shape)})", type(model).forward),
        drawing_from(stream(0, "probe")),
        one_thread(),
    ):
        return model(inputs)


def _code(kind: type) -> str:
    """SHA-256 of the code of a class of the user's own; empty for any other."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return code_of(kind.__module__) if file and is_the_users(Path(file)) else ""


def _bytes(tensor: Tensor) -> bytes:
    """The tensor's memory, of types too that numpy does not know."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
