"""Where attacks run."""

from typing import TYPE_CHECKING, Literal, get_args

from seethrough.common.errors import InputError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]


def check_device(wanted: str) -> None:
    """Raises: InputError, for another word."""
    if wanted not in get_args(Device):
        raise InputError(f"device: found {wanted!r:.60}; allowed: {', '.join(get_args(Device))}.")


def device_for(wanted: Device) -> "torch.device":
    """The device that is meant; auto is a CUDA device, if there is one. Raises: InputError, where there is none."""
    import torch  # seconds, which the command line does not spend on words

    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device: found cuda, but torch sees no CUDA device; allowed here: auto, cpu.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
