"""Hostile files, each made when it is needed: small files that claim much, or are not what their name says."""

import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.security.samples import image, npz, torch_file

Maker = Callable[[Path], None]
Corpus = Mapping[str, Mapping[str, Maker]]
"""Bombs by name, under what must be found in each of them: a bomb refused for another reason tests nothing."""


def content(make: Callable[[], bytes | str]) -> Maker:
    def write(path: Path) -> None:
        data = make()
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def npy(text: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(form, len(text)) + text.encode() + body


def header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def one(text: str, body: bytes = b"", version: bytes = b"\x01\x00") -> Maker:
    return content(lambda: zipped({"x.npy": npy(text, body, version)}))


def relabeled(data: bytes, offset: int, form: str, value: int) -> bytes:
    """The archive with one field of the first entry of its directory changed."""
    at = data.index(b"PK\x01\x02") + offset
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def lying(claimed: int, shape: str) -> bytes:
    """A member of 100 elements whose header and whose entry in the directory both claim another number."""
    start = npy(header("'|u1'", shape))
    packed = zipped({"x.npy": start + bytes(100)}, zipfile.ZIP_DEFLATED)
    return relabeled(packed, 24, "<I", len(start) + claimed)


def zeros(size: int) -> bytes:
    text = header("'|u1'", f"({size},)")
    return zipped({"x.npy": npy(text, bytes(size))}, zipfile.ZIP_DEFLATED)


def many_members(count: int, name: str) -> bytes:
    """An archive whose directory alone is long: no member has any content."""
    names = [name.format(i).encode() for i in range(count)]
    entry = struct.Struct("<4s4B4HL2L5H2L")
    directory = b"".join(
        entry.pack(b"PK\x01\x02", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, len(n), 0, 0, 0, 0, 0, 0) + n for n in names
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF & count, 0xFFFF & count, len(directory), 0, 0)
    return directory + end


def duplicated() -> bytes:
    data = zipped({"a.npy": npz(), "b.npy": npz()})
    return data.replace(b"b.npy", b"a.npy")


def object_array() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}, None], dtype=object))
    return buffer.getvalue()


def safetensors(entries: Mapping[str, Any] | str, body: bytes = b"", size: int | None = None) -> Maker:
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    return content(lambda: struct.pack("<Q", len(text) if size is None else size) + text + body)


def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: int | None = None, extra: bytes = b"") -> bytes:
    """A black, gray-scale PNG, packed as tightly as zlib can, of which `rows` are there."""
    packer, row = zlib.compressobj(9), bytes(1 + width)
    pixels = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    ihdr = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(form: str, mode: str = "RGB", **options: Any) -> Maker:
    def make() -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, (8, 8)).save(buffer, form, **options)
        return buffer.getvalue()

    return content(make)


def tiff(width: int, height: int, tags: Mapping[int, int] | None = None) -> bytes:
    """A black TIFF, of which one row is there."""
    fields = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width}
    if tags:
        fields = {tag: value for tag, value in fields.items() if tag not in (273, 278, 279)} | dict(tags)
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    return b"II*\0" + struct.pack("<LH", 8, len(fields)) + entries + bytes(4) + bytes(width)


def webp(width: int, height: int) -> bytes:
    """A WebP that claims this canvas."""
    small = io.BytesIO()
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(small, "WEBP", lossless=True, exif=b"Exif\0\0II*\0")
    data = small.getvalue()
    at = data.index(b"VP8X") + 12
    return data[:at] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[at + 6 :]


def bmp(width: int, height: int) -> bytes:
    small = io.BytesIO()
    Image.new("L", (8, 8)).save(small, "BMP")
    return small.getvalue()[:18] + struct.pack("<2L", width, height) + small.getvalue()[26:]


def laughs() -> str:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines)


NPZ: Corpus = {
    "of shape": {
        "claims 8 TiB": one(header("'<f8'", "(1099511627776,)")),
        "claims 8 TiB in many sides": one(header("'<f8'", "(1024, 1024, 1024, 1024)")),
        "claims sides past 64 bits": one(header("'<f8'", "(99999999999, 99999999999, 99999999999)")),
        "claims empty but absurd": one(header("'<f8'", "(1099511627776, 0)")),
        "claims 100 dimensions": one(header("'|u1'", f"({'1, ' * 100})", "False"), b"\0"),
        "claims less than is there": one(header("'|u1'", "(3,)"), b"\0" * 4),
        "claims more than is there": one(header("'|u1'", "(5,)"), b"\0" * 4),
    },
    "with the header": {
        "claims a negative side": one(header("'<f8'", "(-1,)")),
        "header of 4 GiB": content(lambda: zipped({"x.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b"{" * 99})),
        "header nested 200 deep": one("(" * 5000),
        "header of minus signs": one(header("'<f8'", f"({'-' * 5000}1,)")),
        "header with a call": one(header("__import__('os').system('true')", "(1,)")),
        "structured type": one(header("[('a', '<f8'), ('b', '|O')]", "(1,)"), b"\0" * 16),
        "text type": one(header("'<U4'", "(1,)"), b"\0" * 16),
        "complex type": one(header("'<c16'", "(1,)"), b"\0" * 16),
        "quarter-precision type": one(header("'<f1'", "(1,)"), b"\0"),
        "pickled objects": content(object_array),
    },
    "inflating from": {
        "inflates 1000-fold": content(lambda: zeros(200 * 2**20)),
        "says it inflates to 4 GiB": content(lambda: lying(4 * 10**9, "(4000000000,)")),
    },
    "10000 bytes claimed, 100 there": {
        "says more than it inflates to": content(lambda: lying(10_000, "(10000,)")),
    },
    "Bad CRC-32": {
        "says less than it inflates to": content(lambda: lying(90, "(90,)")),
        "damaged checksum": content(lambda: relabeled(npz(), 16, "<I", 0)),
    },
    "once inflated": {
        "many members of 60 MiB": content(
            lambda: relabeled_all(zipped({f"{i}.npy": npy(header("'|u1'", "(9,)"), b"\0" * 9) for i in range(40)}))
        ),
    },
    "the member": {
        "archive in an archive": content(lambda: zipped({"inner.zip": npz()})),
    },
    "which is no array": {
        "archive called an array": content(lambda: zipped({"inner.npy": npz()})),
    },
    "encrypted, or packed": {
        "encrypted": content(lambda: relabeled(npz(), 8, "<H", 1)),
        "packed by LZMA": content(lambda: zipped({"x.npy": npy(header("'|u1'", "(1,)"), b"\0")}, zipfile.ZIP_LZMA)),
        "packed by no known method": content(lambda: relabeled(npz(), 10, "<H", 77)),
    },
    "2 members of 1 names": {
        "two members of one name": content(duplicated),
    },
    "an archive directory of": {
        "60,000 members": content(lambda: many_members(60_000, "{}.npy")),
    },
    "3000 members of 3000 names": {
        "3,000 members": content(lambda: many_members(3_000, "{}.npy")),
    },
    "not a zip file": {
        "bare array": content(lambda: npy(header("'|u1'", "(1,)"), b"\0")),
    },
}


def relabeled_all(data: bytes) -> bytes:
    """Each entry of the directory claims 60 MiB, below the limit for one."""
    parts = data.split(b"PK\x01\x02")
    return b"PK\x01\x02".join([parts[0], *(p[:20] + struct.pack("<I", 60 * 2**20) + p[24:] for p in parts[1:])])


SAFETENSORS: Corpus = {
    "described as": {
        "empty but absurd shape": safetensors({"a": entry([2**40, 0], [0, 0])}),
        "shape past 64 bits": safetensors({"a": entry([2**63, 2**63], [0, 4])}, b"\0" * 4),
        "shape that wraps around": safetensors({"a": entry([2**62, 4, 1], [0, 0])}),
        "1,000 dimensions": safetensors({"a": entry([1] * 1000, [0, 4])}, b"\0" * 4),
        "offsets backward": safetensors({"a": entry([1], [4, 0])}, b"\0" * 4),
        "negative offset": safetensors({"a": entry([1], [-4, 0])}, b"\0" * 4),
        "fractional shape": safetensors({"a": entry([1.0], [0, 4])}, b"\0" * 4),
        "shape of booleans": safetensors({"a": entry([True], [0, 4])}, b"\0" * 4),
        "type not known": safetensors({"a": entry([1], [0, 4], "F31")}, b"\0" * 4),
        "type no text": safetensors({"a": entry([1], [0, 4], ["F32"])}, b"\0" * 4),
    },
    "a header of": {
        "200,000 entries": safetensors({f"t{i}": entry([0], [0, 0]) for i in range(200_000)}),
        "header of 2**63 bytes": safetensors({}, size=2**63),
        "header of 100 MB": safetensors({}, size=100_000_000),
        "header past the end": safetensors({}, size=3),
        "no header": safetensors("", size=0),
        "header of 3 bytes in all": content(lambda: b"\x01\0\0"),
        "sparse file of 1 GiB": lambda path: sparse(path, 2**30),
    },
    "text (": {"notes": content(lambda: b"my weights,\nas I remember them")},
    "the header": {
        "20,000 entries": safetensors({f"t{i}": entry([0], [0, 0]) for i in range(20_000)}),
        "list as header": safetensors("[1,2]"),
        "number as header": safetensors("5"),
    },
    "a key stands twice": {
        "key twice": safetensors('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}}', b"\0" * 4),
        "dtype twice": safetensors('{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
    },
    "where 4 is next": {
        "overlap": safetensors({"a": entry([1], [0, 4]), "b": entry([1], [0, 4])}, b"\0" * 4),
        "hole": safetensors({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, b"\0" * 12),
    },
    "tensors of 4 bytes in 5": {
        "bytes left over": safetensors({"a": entry([1], [0, 4])}, b"\0" * 5),
    },
    "tensors of 8 bytes in 7": {
        "bytes missing": safetensors({"a": entry([2], [0, 8])}, b"\0" * 7),
    },
    "a header that is no JSON": {
        "integer of 5,000 digits": safetensors('{"a":' + "9" * 5000 + "}"),
        "nested 100,000 deep": safetensors('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "NaN in the header": safetensors('{"a":NaN}'),
        "UTF-16 header": content(lambda: struct.pack("<Q", 4) + "{}".encode("utf-16-le")),
    },
    "a damaged file": {
        "metadata no text": safetensors({"__metadata__": {"a": {"b": 1}}, "a": entry([1], [0, 4])}, b"\0" * 4),
    },
    "NaN or infinity": {
        "not a number": safetensors({"a": entry([1], [0, 4])}, struct.pack("<f", float("nan"))),
        "infinity in half precision": safetensors({"a": entry([1], [0, 2], "F16")}, b"\0\x7c"),
    },
    "3221225472 bytes": {
        "sparse file of 3 GiB": lambda path: sparse(path, 3 * 2**30),
    },
}


def sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


class Claimed:
    """A tensor that describes itself as torch.save would, but claims what it likes."""

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, stored: int = 4) -> None:
        self._arguments = torch.zeros(stored).storage(), offset, shape, strides, False, {}

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self._arguments


class Called:
    """Calls `function` when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def claimed(*arguments: Any, **options: Any) -> Maker:
    def make() -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # typed storages are deprecated, but what torch.save writes
            return torch_file({"w": Claimed(*arguments, **options)})

    return content(make)


def called(function: Callable[..., Any], *arguments: Any) -> Maker:
    return content(lambda: torch_file({"w": Called(function, *arguments)}))


def pickled(data: bytes, **members: bytes) -> Maker:
    return content(lambda: zipped({"a/data.pkl": data, **{f"a/{name}": each for name, each in members.items()}}))


def repacked(method: int) -> bytes:
    """What torch.save wrote, in an archive packed otherwise."""
    with zipfile.ZipFile(io.BytesIO(torch_file())) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist()}, method)


def shared(count: int) -> bytes:
    """One storage of 4 MB under many names, each of which is read in another order and so wants memory of its own."""
    one = torch.zeros(1000, 1000)
    return torch_file({f"w{place}": one.t() for place in range(count)})


TORCH: Corpus = {
    "a pickle of": {
        "runs a command": called(os.system, "true"),
        "evaluates text": called(eval, "1"),
        "asks for a terabyte": called(bytearray, 2**40),
        "a tensor by its constructor": called(torch.Tensor, 2**40),
        "an object of a class": content(lambda: torch_file(torch.nn.Linear(2, 2))),
        "a function by itself": content(lambda: torch_file({"w": os.system})),
        "a name on the stack": pickled(b"\x80\x04\x8c\x02os\x8c\x06system\x93."),
    },
    "a damaged pickle": {
        "an empty stack": pickled(b"\x80\x02."),
        "no end": pickled(b"\x80\x02}"),
        "nothing at all": pickled(b""),
        "a name without a memo": pickled(b"\x80\x02h\x00."),
        "text of 4 GiB": pickled(b"\x80\x02X\xff\xff\xff\xffa."),
        "a number of 2 GiB": pickled(b"\x80\x02\x8b\xff\xff\xff\x7f1."),
        "a number in 5,000 digits": pickled(b"I" + b"9" * 5000 + b"\n."),
        "a tuple as key, 90,000 deep": pickled(b"\x80\x02})" + b"\x85" * 90_000 + b"Ns."),
        "a list as key": pickled(b"\x80\x02}]Ns."),
        "items of a number": pickled(b"\x80\x02K\x01NNs."),
        "a call of a number": pickled(b"\x80\x02K\x01)R."),
        "a storage by a number": pickled(b"\x80\x02K\x01Q."),
        "an extension": pickled(b"\x80\x02\x82\x01."),
        "an instance": pickled(b"(i__main__\nX\n."),
        "a negative side": claimed((-1,), (1,)),
        "a negative stride": claimed((2,), (-1,)),
        "a negative offset": claimed((2,), (1,), -1),
        "sides without strides": claimed((2, 2), (1,)),
        "a fraction as side": claimed((1.0,), (1,)),
    },
    "a pickle of one value": {
        "nothing": pickled(b"\x80\x02N."),
        "text": content(lambda: torch_file("w")),
    },
    "which is no tensor": {
        "numbers, text and lists": content(lambda: torch_file({"a": 1, "b": "c"})),
        "a dict in a dict": content(lambda: torch_file({"a": {"w": torch.ones(1)}})),
        "numpy arrays": content(lambda: torch_file([np.ones(3)])),
        "a number as name": content(lambda: torch_file({1: torch.ones(1)})),
        "nested 90,000 deep": pickled(b"\x80\x02](" + b")" + b"\x85" * 90_000 + b"e."),
    },
    "of shape": {
        "8 TiB over 16 bytes": claimed((2**41,), (1,)),
        "8 TiB by a stride of 0": claimed((2**41,), (0,)),
        "2 GiB by a stride of 0": claimed((2**29,), (0,)),
        "one element past the end": claimed((5,), (1,)),
        "an offset past the end": claimed((1,), (1,), 4),
        "sides past 64 bits": claimed((2**62, 2**62), (1, 1)),
        "an empty one with absurd sides": claimed((2**62, 0), (1, 1)),
        "100 dimensions": claimed((1,) * 100, (1,) * 100),
        "a storage that is not there": pickled(
            b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
            b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89}tRs."
        ),
    },
    "operations": {
        "two million operations": pickled(b"\x80\x02" + b"N" * 2_000_000 + b"."),
    },
    "packed or encrypted": {
        "deflated": content(lambda: repacked(zipfile.ZIP_DEFLATED)),
        "a pickle of 100 MiB, deflated": content(
            lambda: zipped({"a/data.pkl": bytes(100 * 2**20)}, zipfile.ZIP_DEFLATED)
        ),
        "encrypted": content(lambda: relabeled(torch_file(), 8, "<H", 1)),
    },
    "in a file of": {
        "a member of 4 GB by its own account": content(lambda: relabeled(torch_file(), 24, "<I", 4 * 10**9)),
        "one storage under 99 names": content(lambda: shared(99)),
    },
    "members data.pkl": {
        "two pickles": content(lambda: zipped({"a/data.pkl": b".", "b/data.pkl": b"."})),
        "a pickle of 17 MiB": pickled(bytes(17 * 2**20)),
    },
    "a TorchScript archive": {
        "a script": content(lambda: zipped({"a/data.pkl": b".", "a/constants.pkl": b"."})),
    },
    "the byte order": {
        "big-endian": pickled(b"\x80\x02}.", byteorder=b"big"),
        "a long byte order": pickled(b"\x80\x02}.", byteorder=b"little" * 9),
    },
    "a damaged archive": {
        "cut in half": content(lambda: torch_file()[: len(torch_file()) // 2]),
        "without its last byte": content(lambda: torch_file()[:-1]),
        "another checksum": content(lambda: relabeled(torch_file(), 16, "<I", 0)),
    },
    "a bare pickle": {
        "a bare pickle": content(lambda: b"\x80\x02K\x01."),
    },
    "NaN or infinity": {
        "not a number": content(lambda: torch_file({"w": torch.tensor([1.0, float("nan")])})),
        "infinity in half precision": content(lambda: torch_file({"w": torch.tensor([float("inf")]).half()})),
        "not a number in an npz": content(lambda: zipped({"x.npy": npy(header("'<f4'", "(1,)"), b"\0\0\xc0\x7f")})),
    },
    "the member": {
        "an archive of something else": content(lambda: zipped({"a.txt": b"text"})),
    },
}

IMAGES: Corpus = {
    " pixels": {
        "13,000 x 13,000": content(lambda: png(13_000, 13_000)),
        "4,097 x 4,096": content(lambda: png(4097, 4096)),
    },
    "a bomb": {
        "WebP of 16,383 x 16,383": content(lambda: webp(16_383, 16_383)),
        "a million x a million": content(lambda: png(10**6, 10**6, rows=9)),
    },
    "no image of a known kind": {
        "one line of 2**31 - 1": content(
            lambda: png(16, 1).replace(struct.pack(">2I", 16, 1), b"\x7f\xff\xff\xff\0\0\0\1")
        ),
        "no width": content(lambda: png(16, 16).replace(struct.pack(">2I", 16, 16), b"\0" * 8)),
        "GIF": saved("GIF"),
        "EPS": saved("EPS"),
        "PDF": saved("PDF"),
        "PPM": saved("PPM"),
        "FITS": content(lambda: b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800)),
        "SVG": content(lambda: "<svg xmlns='http://www.w3.org/2000/svg'/>"),
    },
    "Decompressed data too large": {
        "text of 64 MiB": content(lambda: png(1, 1, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26), 9)))),
        "color profile of 64 MiB": content(
            lambda: png(1, 1, extra=chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**26), 9)))
        ),
    },
    "with 2 frames": {
        "animation": saved("PNG", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        "TIFF of two pages": saved("TIFF", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
        "animated WebP": saved("WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")]),
    },
    "colors of mode": {
        "32 bits": saved("TIFF", "I"),
        "floats": saved("TIFF", "F"),
        "LAB": saved("TIFF", "LAB"),
    },
    "tiles of more": {
        "TIFF of 13,000 x 13,000": content(lambda: tiff(13_000, 13_000)),
        "TIFF of tiles of 60,000 x 60,000": content(lambda: tiff(8, 8, {322: 60_000, 323: 60_000, 324: 8, 325: 64})),
        "BMP of 13,000 x 13,000": content(lambda: bmp(13_000, 13_000)),
    },
    "deflated DICOM": {
        "deflated DICOM": content(
            lambda: bytes(128) + b"DICM\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99" + zlib.compress(bytes(2**26), 9)
        ),
    },
    "without its end": {
        "without its end": content(lambda: image("PNG")[:-12]),
    },
    "is truncated": {
        "without its last byte": content(lambda: image("JPEG")[:-1]),
    },
}

YAML: Corpus = {
    "the alias": {
        "a billion laughs": content(laughs),
        "one alias": content(lambda: "a: &x 1\nb: *x"),
        "an alias to itself": content(lambda: "&a [*a]"),
        "merged keys": content(lambda: "a: &a {b: 1}\nc: {<<: *a}"),
    },
    "at depth 33": {
        "100,000 deep": content(lambda: "[" * 100_000),
        "100,000 deep in blocks": content(lambda: "- " * 100_000),
        "33 deep": content(lambda: "[" * 33 + "]" * 33),
        "33 deep in mappings": content(lambda: "{a: " * 33 + "}" * 33),
    },
    "value number 20001": {
        "20,001 values": content(lambda: "- a\n" * 20_001),
    },
    "262145 bytes": {
        "more than 256 KiB": content(lambda: "#" * (2**18 + 1)),
    },
    "an integer of": {
        "an integer of 5,000 digits": content(lambda: "a: " + "9" * 5000),
        "an integer of 301 digits": content(lambda: "a: " + "9" * 301),
    },
    "'1e400'": {
        "a float past all floats": content(lambda: "a: 1e400"),
    },
    "no YAML": {
        "a version of 5,000 digits": content(lambda: f"%YAML {'1' * 5000}.1\n--- a"),
        "Latin-1": content(lambda: "a: é".encode("latin-1")),
        "UTF-16": content(lambda: "a: 1".encode("utf-16")),
        "a NUL": content(lambda: "a: \0"),
        "a character past Unicode": content(lambda: 'a: "\\UFFFFFFFF"'),
        "a pickle": content(lambda: b"\x80\x04K\x01."),
    },
    "the tag": {
        "a date of no calendar": content(lambda: "a: !!timestamp 2001-99-99"),
        "python object": content(lambda: "a: !!python/object/apply:os.system ['true']"),
        "python name": content(lambda: "a: !!python/name:os.system"),
        "python module": content(lambda: "!!python/module:os"),
        "binary": content(lambda: "a: !!binary aGVsbG8="),
        "set": content(lambda: "!!set {a, b}"),
        "own tag": content(lambda: "a: !include /etc/passwd"),
        "own tag by handle": content(lambda: "%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system"),
        "the tag of text": content(lambda: "a: !!str 5"),
    },
    "a second time": {
        "a key twice": content(lambda: "a: 1\nb: 2\na: 3"),
        "a key twice, once in quotes": content(lambda: "{a: 1, 'a': 2}"),
    },
    "a key that is no text": {
        "a number as key": content(lambda: "1: 2"),
        "true as key": content(lambda: "true: 2"),
        "nothing as key": content(lambda: "? \n: 2"),
        "a list as key": content(lambda: "? [a]\n: 1"),
    },
    "a single document": {
        "two documents": content(lambda: "a: 1\n---\nb: 2"),
    },
    "half of a surrogate": {
        "half a surrogate pair": content(lambda: 'a: "\\ud800"'),
    },
    "bad YAML": {
        "a tab as indent": content(lambda: "a:\n\t- b"),
        "an open list": content(lambda: "a: [1, 2"),
    },
}

NO_FILES: Mapping[str, Maker] = {
    "pipe": os.mkfifo,
    "folder": lambda path: path.mkdir(),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "random device": lambda path: path.symlink_to("/dev/random"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path),
    "nothing": lambda path: None,
}
