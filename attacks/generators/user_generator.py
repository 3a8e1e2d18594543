"""The user's own generator: a function that builds a module, and a safetensors file with its weights."""

import copy
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from seethrough.common.threads import one_thread
from seethrough.common.user_code import UserCodeError, explained, user_function
from seethrough.common.user_sources import code_of

from .._base import Space
from .generator import Drawer

LARGEST = 2 * 2**30  # bytes
PROBES = 16  # latents by whose images a generator is known again


def own_facts(function: str, file: str, latent: int, conditional: bool, space: Space) -> str:
    """What decides the generator: SHA-256 of its code, of what it draws and of the file. Raises: ValueError."""
    user_function(function)  # whose sentence comes before the file's
    content = hashlib.sha256(_content(file)).hexdigest()
    drawn = _drawn(function, file, latent, conditional, space, content)
    return f"{content} {drawn} {code_of(function.split(':')[0])}"


@cache
def _drawn(function: str, file: str, latent: int, conditional: bool, space: Space, content: str) -> str:
    """SHA-256 of images that the generator draws; of a file whose `content` is given, since it may be another one later."""
    twice = [own_generator(function, file, latent, conditional, space, torch.device("cpu")) for _ in range(2)]
    latents = torch.randn((PROBES, latent), generator=torch.Generator().manual_seed(0))
    classes = torch.eye(space.classes)[torch.arange(PROBES) % space.classes]
    with explained(function, "cannot draw images"), one_thread():
        drawn, again = (drawer.draw(latents, classes) for drawer in twice)
    if not drawn.isfinite().all():
        raise UserCodeError(f"`{function}` makes images that are not finite; allowed: pixels in [0, 1]")
    if not torch.equal(drawn, again):
        raise UserCodeError(
            f"`{function}` makes other images of the same latents each time it is built or run; allowed: one without chance"
        )
    return hashlib.sha256(drawn.contiguous().numpy().tobytes()).hexdigest()


def own_generator(
    function: str, file: str, latent: int, conditional: bool, space: Space, device: torch.device
) -> Drawer:
    """What `function(shape, classes)` returns, with the weights in `file`: a module from latents [n, latent], and class
    probabilities [n, classes] too if `conditional`, to images [n, *shape], which are cut off at 0 and 1.

    Raises: ValueError, naming what does not fit.
    """
    make = user_function(function)
    with explained(f"{function}({space.shape}, {space.classes})", "failed", make):
        net = make(space.shape, space.classes)
    if not isinstance(net, nn.Module):
        raise UserCodeError(f"`{function}` returned a {type(net).__name__}; allowed: a torch.nn.Module")
    net = copy.deepcopy(net)  # even where it is one module for all callers
    try:
        net.load_state_dict(safetensors.torch.load(_content(file)))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{file}: found weights that do not fit `{function}` ({reason:.300}); allowed: its own"
        ) from error
    net.eval().requires_grad_(False).to(device)

    def features(latents: Tensor, classes: Tensor) -> Tensor:
        drawn = net(latents, classes) if conditional else net(latents)
        if not isinstance(drawn, Tensor):
            raise UserCodeError(f"`{function}` makes a {type(drawn).__name__} of latents; allowed: a tensor of images")
        return drawn.clamp(0, 1)

    with explained(function, f"cannot take two latents of {latent} numbers", type(net).forward):
        _try_out(features, function, latent, space, device)
    return Drawer(latent, features, lambda images: images, torch.zeros(0, 0))


@torch.no_grad()
def _try_out(
    draw: Callable[[Tensor, Tensor], Tensor], function: str, latent: int, space: Space, device: torch.device
) -> None:
    shape = tuple(draw(torch.zeros(2, latent, device=device), torch.zeros(2, space.classes, device=device)).shape)
    if shape != (2, *space.shape):
        raise UserCodeError(
            f"`{function}` makes a shape of {list(shape)} of two latents; allowed: {[2, *space.shape]}, as the data have"
        )


def _content(file: str) -> bytes:
    path = Path(file)
    try:
        size = path.stat().st_size
        if not path.is_file() or size > LARGEST:
            raise ValueError(f"{file}: found {size} bytes; allowed: a file of at most {LARGEST}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}); allowed: a safetensors file") from error
