"""The header of one array in numpy's format, by its grammar: numpy's own reader evaluates it as a Python literal."""

import math
import re
import struct
from dataclasses import dataclass
from typing import IO

import numpy as np

from .files import FilePath, is_sane_shape, refusal, shown

MAX_HEADER_BYTES = 10_000

_LENGTHS = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I"), b"\x03\x00": struct.Struct("<I")}
_TEXT = re.compile(
    rb"\{\s*'descr':\s*'([<>|](?:[ui][1248]|f[248]))',\s*'fortran_order':\s*(True|False),"
    rb"\s*'shape':\s*\(((?:\s*\d{1,18}\s*,)*(?:\s*\d{1,18})?\s*)\),?\s*\}\s*"
)


@dataclass(frozen=True)
class Header:
    """What an array claims to be."""

    dtype: np.dtype
    fortran_order: bool
    shape: tuple[int, ...]
    size: int  # bytes before the first element

    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_header(path: FilePath, name: str, stream: IO[bytes], size: int) -> Header:
    """The header of the array `name`, checked against the `size` bytes that it shares with its elements.

    Raises: UntrustedFileError.
    """
    start = stream.read(8)
    length = _LENGTHS.get(start[6:])
    if start[:6] != b"\x93NUMPY" or length is None:
        raise refusal(path, f"{name}, which is no array", "arrays in numpy's format 1, 2 or 3")
    (claimed,) = length.unpack(stream.read(length.size))
    text = stream.read(claimed) if claimed <= MAX_HEADER_BYTES else b""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise refusal(path, f"{name} with the header {shown(text)}", "arrays of integers or floats")
    shape = tuple(int(side) for side in match[3].split(b",") if side.strip())
    header = Header(np.dtype(match[1].decode()), match[2] == b"True", shape, 8 + length.size + claimed)
    if not is_sane_shape(shape) or header.size + header.elements() * header.dtype.itemsize != size:
        found = f"{name} of shape {shown(shape)} and type {header.dtype} in {size} bytes"
        raise refusal(path, found, "shapes of a sensible size that fit the bytes")
    return header
