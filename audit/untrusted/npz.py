"""Arrays of numbers from an npz archive."""

import zipfile

import numpy as np

from .archive import check_count, fill, opened_archive
from .files import FilePath, refusal, shown
from .npy import read_header

MAX_FILE_BYTES = 2 * 2**30
MAX_INFLATED_BYTES = 2 * 2**30
MAX_RATIO = 100
"""Inflated bytes for each stored byte, past RATIO_FREE_BYTES: photographs reach 2, digits 10, a bomb 1,000."""
RATIO_FREE_BYTES = 64 * 2**20
MAX_MEMBERS = 1000

_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


def read_npz(path: FilePath) -> dict[str, np.ndarray]:
    """The archive's arrays of integers or floats, by name, contiguous and in native byte order.

    Raises: UntrustedFileError, for a size past the limits of this module before anything of that size is allocated.
    """
    with opened_archive(path, MAX_FILE_BYTES, "what numpy.savez writes") as archive:
        members = archive.infolist()
        _check(path, members)
        return {member.filename.removesuffix(".npy"): _array(path, archive, member) for member in members}


def _check(path: FilePath, members: list[zipfile.ZipInfo]) -> None:
    """Refuse what the archive's directory claims, before any member is touched."""
    check_count(path, members, MAX_MEMBERS)
    for member in members:
        _check_member(path, member)
    total = sum(member.file_size for member in members)
    if total > MAX_INFLATED_BYTES:
        raise refusal(path, f"{total} bytes once inflated", f"at most {MAX_INFLATED_BYTES}")


def _check_member(path: FilePath, member: zipfile.ZipInfo) -> None:
    name = shown(member.filename)
    if not member.filename.endswith(".npy"):
        raise refusal(path, f"the member {name}", "arrays only, in members named *.npy")
    if member.compress_type not in _METHODS or member.flag_bits & 0x1:
        found = f"{name} encrypted, or packed by method {member.compress_type}"
        raise refusal(path, found, f"members {' or '.join(_METHODS.values())}")
    if member.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * member.compress_size):
        found = f"{name}, inflating from {member.compress_size} to {member.file_size} bytes"
        raise refusal(path, found, f"at most {MAX_RATIO}-fold above {RATIO_FREE_BYTES} bytes")


def _array(path: FilePath, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        header = read_header(path, shown(member.filename), stream, member.file_size)
        flat = np.empty(header.elements(), header.dtype)
        fill(flat.view(np.uint8).data, stream)
    array = flat.reshape(header.shape, order="F" if header.fortran_order else "C")
    return np.asarray(array, dtype=header.dtype.newbyteorder("="), order="C")
