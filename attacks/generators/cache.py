"""Tensors that take long to make, kept between runs by the content of all that decides them.

A file is whole or absent whenever the process or the machine stops, and carries the SHA-256 of what it holds: safetensors
has no checksum of its own, and a file with one flipped bit may well load.
"""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from seethrough.common.files import write_bytes_atomically
from seethrough.defenses import Params

LOG = logging.getLogger(__name__)


def cached_tensors(key_facts: str, make: Callable[[], Params]) -> Params:
    """What `make` returns, made only if no intact file holds it already.

    `key_facts` must name all that decides the tensors. Processes may ask for the same at once: each gets a whole set, and
    whoever finishes later takes what is there. A damaged file is moved aside, under its name with ".damaged" at the end.

    Raises: OSError, if the folder cannot be written; the variable SEETHROUGH_CACHE names another.
    """
    path = cache_directory() / f"{hashlib.sha256(key_facts.encode()).hexdigest()}.safetensors"
    kept = _kept(path, key_facts)
    if kept is not None:
        return kept
    made = {name: tensor.detach().cpu().contiguous() for name, tensor in make().items()}
    kept = _kept(path, key_facts)
    if kept is not None:
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, save(made, metadata={"facts": key_facts, "sha256": fingerprint(made)}))
    return made


def cache_directory() -> Path:
    """$SEETHROUGH_CACHE, or else the folder "seethrough" where the platform keeps a user's caches."""
    chosen = os.environ.get("SEETHROUGH_CACHE")
    if chosen:
        return Path(chosen)
    linux = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    windows = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    places = {"darwin": Path.home() / "Library" / "Caches", "win32": windows}
    return places.get(sys.platform, linux) / "seethrough"


def fingerprint(tensors: Params) -> str:
    """The SHA-256 of the tensors' names, types, shapes and bytes, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _kept(path: Path, key_facts: str) -> Params | None:
    """The tensors of an intact file; None where there is none, after a damaged one was moved aside."""
    try:
        metadata, tensors = _read(path)
        if metadata.get("facts") == key_facts and metadata.get("sha256") == fingerprint(tensors):
            return tensors
        reason = "its content does not match the SHA-256 that it records"
    except FileNotFoundError:
        return None
    except SafetensorError as error:
        reason = str(error)
    LOG.warning("%s is damaged (%s); it is moved aside and made again", path, reason)
    with suppress(FileNotFoundError):  # another process moved it first
        os.replace(path, path.with_name(f"{path.name}.damaged"))
    return None


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
