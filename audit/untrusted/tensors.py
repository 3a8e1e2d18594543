"""Named tensors from any of the files that networks and updates are kept in."""

import zipfile

import torch
from torch import Tensor

from .archive import opened_archive
from .files import FilePath, opened, refusal, shown
from .npz import MAX_FILE_BYTES, read_npz
from .safetensors import read_safetensors
from .torch_file import read_torch_file

_ZIP = b"PK\x03\x04"


def read_tensors(path: FilePath) -> dict[str, Tensor]:
    """The tensors of a safetensors file, of what torch.save wrote (.pt, .pth, .bin), or of an npz archive, known by content.

    They are dense, contiguous, on the CPU, of the type in the file: integers, booleans or finite floats. By torch.save: a
    state dict, alone or under one of "state_dict", "model_state_dict", "model", "weights", "net". A list or tuple of tensors
    by torch.save, and numpy.savez's arrays without names ("arr_0", "arr_1", ...), have an order only: they are named "0",
    "1", ... in that order.

    Nothing is unpickled. Raises: UntrustedFileError, one sentence.
    """
    with opened(path, MAX_FILE_BYTES) as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    if not zipped:
        return read_safetensors(path)
    tensors = read_torch_file(path) if _holds_a_pickle(path) else _of_npz(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise refusal(path, f"NaN or infinity in {shown(name)}", "finite numbers")
    return tensors


def _holds_a_pickle(path: FilePath) -> bool:
    with opened_archive(path, MAX_FILE_BYTES, "what torch.save or numpy.savez writes") as archive:
        return any(_is_of_torch(member) for member in archive.infolist())


def _is_of_torch(member: zipfile.ZipInfo) -> bool:
    return member.filename.rpartition("/")[2] in ("data.pkl", "constants.pkl")


def _of_npz(path: FilePath) -> dict[str, Tensor]:
    arrays = {name: torch.from_numpy(array) for name, array in read_npz(path).items()}
    places = {f"arr_{place}": str(place) for place in range(len(arrays))}
    if arrays.keys() != places.keys():
        return arrays
    return {place: arrays[name] for name, place in places.items()}
