"""Tensors from the zip archives that torch.save writes; the pickle in them is read, not unpickled."""

import os
import zipfile
from typing import Any

import torch
from torch import Tensor

from .archive import check_count, fill, opened_archive
from .files import FilePath, is_sane_shape, refusal, shown
from .pickled import STATE_DICT, Claim, read_pickle

MAX_FILE_BYTES = 2 * 2**30
MAX_PICKLE_BYTES = 16 * 2**20
MAX_TENSORS = 10_000
MAX_SHARED = 10
"""Bytes of all tensors for each byte of the file: tied weights are one storage under two names, a bomb one under thousands."""

NESTED = ("state_dict", "model_state_dict", "model", "weights", "net")
"""Where checkpoints keep a state dict."""


def read_torch_file(path: FilePath) -> dict[str, Tensor]:
    """The tensors of a state dict, by name: a dict of them, such a dict under one of NESTED, or a list, named "0", "1", ...

    Of what stands beside the state dict nothing is read. Raises: UntrustedFileError, before anything past the file's size is
    allocated.
    """
    with opened_archive(path, MAX_FILE_BYTES, STATE_DICT) as archive:
        members = _members(path, archive)
        root = _root(path, members)
        _check_order(path, archive, members.get(f"{root}byteorder"))
        claims = _state_dict(path, read_pickle(path, archive.read(members[f"{root}data.pkl"])))
        _check(path, claims, members, f"{root}data/")
        storages: dict[str, Tensor] = {}
        for claim in claims.values():
            if claim.key not in storages:
                storages[claim.key] = _stored(archive, members[f"{root}data/{claim.key}"], claim)
        return {name: _tensor(storages[claim.key], claim) for name, claim in claims.items()}


def _members(path: FilePath, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by name; torch.save packs none of them, so none is larger than the file."""
    members = archive.infolist()
    check_count(path, members, 2 * MAX_TENSORS)
    if any(member.filename.rpartition("/")[2] == "constants.pkl" for member in members):
        raise refusal(path, "a TorchScript archive", STATE_DICT)
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
            raise refusal(
                path, f"{shown(member.filename)} packed or encrypted", "archives by torch.save, which packs nothing"
            )
    claimed, size = sum(member.file_size for member in members), os.stat(path).st_size
    if claimed > size or any(member.file_size != member.compress_size for member in members):
        raise refusal(path, f"members of {claimed} bytes in a file of {size}", "members that lie side by side")
    return {member.filename: member for member in members}


def _root(path: FilePath, members: dict[str, zipfile.ZipInfo]) -> str:
    """The folder in the archive that all of it stands in."""
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or members[pickles[0]].file_size > MAX_PICKLE_BYTES:
        sizes = ", ".join(f"{members[name].file_size} bytes" for name in pickles[:3])
        found = f"{len(pickles)} members data.pkl ({sizes})"
        raise refusal(path, found, f"one of at most {MAX_PICKLE_BYTES} bytes, as torch.save writes it")
    return pickles[0].removesuffix("data.pkl")


def _check_order(path: FilePath, archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> None:
    order = archive.read(member) if member and member.file_size < 10 else b"" if member else b"little"
    if order != b"little":
        raise refusal(path, f"numbers in the byte order {shown(order)}", "little-endian ones")


def _state_dict(path: FilePath, told: Any) -> dict[str, Claim]:
    if isinstance(told, list | tuple):
        told = {str(place): value for place, value in enumerate(told)}
    if not isinstance(told, dict):
        raise refusal(path, f"a {'single tensor' if isinstance(told, Claim) else 'pickle of one value'}", STATE_DICT)
    nested = [key for key in NESTED if isinstance(told.get(key), dict)]
    if len(nested) > 1:
        raise refusal(path, f"dicts under {' and '.join(map(shown, nested))}", "one state dict")
    state = told[nested[0]] if nested else told
    if len(state) > MAX_TENSORS:
        raise refusal(path, f"{len(state)} tensors", f"at most {MAX_TENSORS}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Claim):
            where = f"{STATE_DICT}, alone or under {', '.join(NESTED)}"
            raise refusal(path, f"{shown(name)}, which is no tensor", where)
    return dict(state)


def _check(path: FilePath, claims: dict[str, Claim], members: dict[str, zipfile.ZipInfo], folder: str) -> None:
    """Refuse tensors that are not within their storages, before any storage is read."""
    for name, claim in claims.items():
        member = members.get(f"{folder}{claim.key}")
        size = -1 if member is None else member.file_size
        last = claim.offset + sum((side - 1) * stride for side, stride in zip(claim.shape, claim.strides, strict=True))
        within = claim.elements() == 0 or (last < claim.stored and claim.elements() <= claim.stored)
        if size != claim.stored * claim.dtype.itemsize or not is_sane_shape(claim.shape) or not within:
            over = f"{shown(claim.stored)} elements in {max(size, 0)} bytes"
            found = f"{shown(name)} of shape {shown(list(claim.shape))} over {over}"
            raise refusal(path, found, "shapes of a sensible size that fit the bytes")
    total = sum(claim.elements() * claim.dtype.itemsize for claim in claims.values())
    if total > MAX_SHARED * os.stat(path).st_size:
        found = f"tensors of {total} bytes in a file of {os.stat(path).st_size}"
        raise refusal(path, found, f"at most {MAX_SHARED}-fold, where tensors share their elements")


def _stored(archive: zipfile.ZipFile, member: zipfile.ZipInfo, claim: Claim) -> Tensor:
    if not claim.stored:
        return torch.empty(0, dtype=claim.dtype)
    memory = bytearray(member.file_size)
    with archive.open(member) as stream:
        fill(memoryview(memory), stream)
        stream.read(1)  # at the end the checksum is compared
    return torch.frombuffer(memory, dtype=torch.uint8)


def _tensor(storage: Tensor, claim: Claim) -> Tensor:
    if not claim.elements():
        return torch.empty(claim.shape, dtype=claim.dtype)
    if claim.dtype is torch.bool:
        storage = storage != 0  # a byte that is neither would be an undefined bool
    return storage.view(claim.dtype).as_strided(claim.shape, claim.strides, claim.offset).contiguous()
