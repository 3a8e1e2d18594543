"""Tensors from a safetensors file: its header is checked here before the library sees any of it."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NoReturn

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .files import FilePath, is_sane_shape, opened, refusal, shown

MAX_FILE_BYTES = 2 * 2**30
MAX_HEADER_BYTES = 4 * 2**20
MAX_TENSORS = 10_000

TEXT = bytes([*range(32, 127), *b"\t\r\n"])
PICKLED = b"\x80"
"""How a file begins that torch.save wrote before PyTorch 1.6; since then it writes zip archives."""

_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


def read_safetensors(path: FilePath) -> dict[str, Tensor]:
    """The file's tensors by name: dense, on the CPU, integers or finite floats.

    Raises: UntrustedFileError, for what the header claims before the tensors are read.
    """
    data = _checked_bytes(path)
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise refusal(path, f"a damaged file ({shown(str(error))})", "safetensors") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise refusal(path, f"NaN or infinity in {shown(name)}", "finite numbers")
    return tensors


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: FilePath) -> None:
    """Do nothing if both have the same names, shapes and types. Raises: UntrustedFileError, naming those that differ."""
    common = [name for name in expected if name in found]
    differences = [
        _named("no", [name for name in expected if name not in found]),
        _named("an unexpected", [name for name in found if name not in expected]),
        *(
            f"{shown(name)} as {_kind(found[name])} where the network has {_kind(expected[name])}"
            for name in [name for name in common if _kind(found[name]) != _kind(expected[name])][:3]
        ),
    ]
    told = [difference for difference in differences if difference]
    if told:
        raise refusal(path, "; ".join(told), f"the {len(expected)} tensors of the network, with their shapes and types")


def _named(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(shown(name) for name in names[:3])}{more}" if names else ""


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _checked_bytes(path: FilePath) -> bytes:
    """The content of the file, its header found sound."""
    with opened(path, MAX_FILE_BYTES) as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        header = file.read(size) if len(start) == 8 and size <= MAX_HEADER_BYTES else b""
        total = file.seek(0, os.SEEK_END)
        if not 0 < size == len(header):
            if start.startswith(PICKLED):
                remedy = "safetensors, or what torch.save(model.state_dict(), 'w.pt') has written since PyTorch 1.6"
                raise refusal(path, "a bare pickle, as torch.save wrote them before PyTorch 1.6", remedy)
            if start and all(byte in TEXT for byte in start):  # a length that no file has
                remedy = "safetensors, what torch.save wrote of a state_dict, or an npz archive"
                raise refusal(path, f"text ({shown(start.decode())} ...)", remedy)
            found = f"a header of {size} bytes in a file of {total}"
            raise refusal(path, found, f"safetensors with a header of at most {MAX_HEADER_BYTES}")
        _check_header(path, _parsed(path, header), total - 8 - size)
        file.seek(0)
        data = file.read(total)
    if len(data) != total or data[: 8 + size] != start + header:
        raise refusal(path, "a file that changes while it is read", "files at rest")
    return data


def _parsed(path: FilePath, header: bytes) -> Any:
    try:
        return json.loads(header.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"a header that is no JSON ({shown(str(error))})", "safetensors") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a key stands twice")
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _check_header(path: FilePath, header: Any, payload: int) -> None:
    """Refuse tensors that do not fill the file's `payload` bytes exactly, one after another."""
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise refusal(path, f"the header {shown(header)}", f"a JSON object of at most {MAX_TENSORS} entries")
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in entries.items():
        if not _is_sound(entry):
            allowed = f"sensible shapes that fit the bytes, of type {', '.join(_ITEM_BYTES)}"
            raise refusal(path, f"{shown(name)} described as {shown(entry)}", allowed)
    end = 0
    for begin, stop in sorted(entry["data_offsets"] for entry in entries.values()):
        if begin != end:
            raise refusal(path, f"a tensor at byte {begin} where {end} is next", "tensors one after another")
        end = stop
    if end != payload:
        raise refusal(path, f"tensors of {end} bytes in {payload}", "as many bytes as the tensors take")


def _is_sound(entry: Any) -> bool:
    """Whether the entry describes a tensor whose shape takes exactly the bytes between its offsets."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return False
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(dtype, str) and dtype in _ITEM_BYTES and _are_counts(shape) and _are_counts(offsets)):
        return False
    if len(offsets) != 2 or not is_sane_shape(tuple(shape)):
        return False
    return offsets[1] - offsets[0] == math.prod(shape) * _ITEM_BYTES[dtype]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
