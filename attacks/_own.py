"""The user's own generator: a function that builds a module, and a safetensors file with its weights."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from attacks._base import Space
from attacks._generator import Drawer

LARGEST = 2 * 2**30  # bytes


def own_facts(function: str, file: str) -> str:
    """What decides the generator: SHA-256 of the module that defines it, and of the file. Raises: ValueError."""
    _function(function)
    source = inspect.getsource(sys.modules[function.split(":")[0]])
    return f"{hashlib.sha256(source.encode()).hexdigest()} {hashlib.sha256(_content(file)).hexdigest()}"


def own_generator(
    function: str, file: str, latent: int, conditional: bool, space: Space, device: torch.device
) -> Drawer:
    """What `function(shape, classes)` returns, with the weights in `file`: a module from latents [n, latent], and class
    probabilities [n, classes] too if `conditional`, to images [n, *shape], which are cut off at 0 and 1.

    Raises: ValueError, naming what does not fit.
    """
    net = _function(function)(space.shape, space.classes)
    if not isinstance(net, nn.Module):
        raise ValueError(f"`{function}` returned a {type(net).__name__}; allowed: a torch.nn.Module")
    try:
        net.load_state_dict(safetensors.torch.load(_content(file)))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{file}: found weights that do not fit `{function}` ({reason:.300}); allowed: its own"
        ) from error
    net.eval().requires_grad_(False).to(device)

    def features(latents: Tensor, classes: Tensor) -> Tensor:
        return (net(latents, classes) if conditional else net(latents)).clamp(0, 1)

    _try_out(features, function, latent, space, device)
    return Drawer(latent, features, lambda images: images, torch.zeros(0, 0))


@torch.no_grad()
def _try_out(
    draw: Callable[[Tensor, Tensor], Tensor], function: str, latent: int, space: Space, device: torch.device
) -> None:
    try:
        shape = tuple(draw(torch.zeros(2, latent, device=device), torch.zeros(2, space.classes, device=device)).shape)
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"`{function}` cannot take two latents of {latent} numbers ({reason:.300})") from error
    if shape != (2, *space.shape):
        raise ValueError(
            f"`{function}` makes a shape of {list(shape)} of two latents; allowed: {[2, *space.shape]}, as the data have"
        )


def _function(function: str) -> Callable[[tuple[int, int, int], int], object]:
    module, name = function.split(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"`{function}` cannot be imported ({error}); allowed: package.module:function") from error


def _content(file: str) -> bytes:
    path = Path(file)
    try:
        size = path.stat().st_size
        if not path.is_file() or size > LARGEST:
            raise ValueError(f"{file}: found {size} bytes; allowed: a file of at most {LARGEST}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}); allowed: a safetensors file") from error
