"""A folder of pictures, one subfolder for each class."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Discriminator, Field, Tag, model_validator

from seethrough.common.entry import entry

from ..untrusted import UntrustedFileError, read_columns, read_image
from ._base import Data, Images

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".dcm", ".dicom")
SHOWN = 10  # of the files that cannot be read
ALLOWED = "PNG, JPEG, BMP, WebP, TIFF or DICOM files in one subfolder for each class"

Side = Annotated[int, Field(ge=8, le=1024)]
Sides = Annotated[
    Annotated[Side, Tag("one")] | Annotated[tuple[Side, Side], Tag("two")],
    Discriminator(lambda value: "two" if isinstance(value, list | tuple) else "one"),
]


@entry
class Folder(Data):
    """PNG, JPEG, BMP, WebP, TIFF and DICOM files in `path`/<class>/, classes in alphabetical order, all resized to `size`
    pixels a side, or to `size` [height, width].

    Pictures are turned as EXIF says and cut to the largest centered part of that shape first; a single color picture makes
    all of them three-channeled. What is transparent is laid over white; of 16 bits the upper 8 are kept; palettes and CMYK
    become RGB. DICOM, which wants pydicom: rescaled, windowed (or the whole range of its bits), MONOCHROME1 inverted. Hidden
    files and folders are skipped, and files of other suffixes; the report says how many.

    `table` is a CSV file with a column `file` (such as cat/1.png) and one named by `group` that says whose each picture is,
    such as a patient's: nobody's pictures are divided between parts or clients.
    """

    path: str = Field(min_length=1)
    size: Sides = 32
    table: str = ""
    group: str = ""

    @model_validator(mode="after")
    def _table_has_a_column(self) -> "Folder":
        if bool(self.table) != bool(self.group):
            raise ValueError("table and group, or neither: a CSV file and the column that says whose each picture is")
        return self

    def load(self) -> Images:
        shape = (self.size, self.size) if isinstance(self.size, int) else self.size
        return _load(self.path, shape, self.table, self.group)


@dataclass(frozen=True)
class _Listing:
    """What a folder holds."""

    classes: tuple[str, ...]
    files: tuple[tuple[Path, int], ...]  # of the pictures, each with its class
    note: str  # what else there is, in words


@cache
def _load(path: str, shape: tuple[int, int], table: str, group: str) -> Images:
    root = Path(path)
    if not root.is_dir():
        raise UntrustedFileError(
            f"{path}: found no folder; allowed: a folder with one subfolder of images for each class"
        )
    try:
        listing = _listed(root)
    except OSError as error:
        raise UntrustedFileError(
            f"{path}: found a folder that cannot be read ({error.strerror}: {error.filename}); allowed: {ALLOWED}"
        ) from error
    if not listing.files:
        beside = f" ({listing.note})" if listing.note else ""
        raise UntrustedFileError(f"{path}: found no images{beside}; allowed: {ALLOWED}")
    pictures = _read(path, [file for file, _ in listing.files], shape)
    channels = max(len(picture) for picture in pictures)
    pixels = torch.stack([picture.expand(channels, *shape) for picture in pictures])
    whose = _groups([file.relative_to(root).as_posix() for file, _ in listing.files], table, group) if table else None
    labels = torch.tensor([label for _, label in listing.files])
    return Images(pixels, labels, len(listing.classes), groups=whose, names=listing.classes, note=listing.note)


def _listed(root: Path) -> _Listing:
    inside = sorted(root.iterdir())
    classes = [folder for folder in inside if folder.is_dir() and not _is_hidden(folder)]
    contents = [(file, label) for label, folder in enumerate(classes) for file in sorted(folder.iterdir())]
    everything = [*((each, -1) for each in inside if each not in classes), *contents]
    files = [(file, label) for file, label in contents if _is_picture(file)]
    found = {label for _, label in files}
    empty = [folder.name for label, folder in enumerate(classes) if label not in found]
    read = set(files)
    said = list(_skipped(each for each in everything if each not in read))
    note = f"skipped: {', '.join(said)}" if said else ""
    if empty:
        more = f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
        lacking = f"classes without a picture: {', '.join(empty[:SHOWN])}{more}"
        note = f"{note}; {lacking}" if note else lacking
    return _Listing(tuple(folder.name for folder in classes), tuple(files), note)


def _skipped(others: Iterator[tuple[Path, int]]) -> Iterator[str]:
    """What is no picture of a class, counted, in words."""
    counts: Counter[str] = Counter()
    suffixes: set[str] = set()
    for each, label in others:
        if _is_hidden(each):
            counts["hidden"] += 1
        elif each.is_dir():
            counts["folder within a class"] += 1
        elif label < 0:
            counts["file beside the classes"] += 1
        else:
            counts["other"] += 1
            suffixes.add(each.suffix.lower() or "none")
    kinds = {
        "hidden": "hidden files or folders",
        "folder within a class": "folders within a class",
        "file beside the classes": "files beside the classes",
        "other": f"files of other suffixes ({', '.join(sorted(suffixes)[:SHOWN])})",
    }
    for kind, words in kinds.items():
        if counts[kind]:
            yield f"{counts[kind]} {words}"


def _is_hidden(each: Path) -> bool:
    return each.name.startswith(".") or each.name == "__MACOSX"


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not _is_hidden(file) and not file.is_dir()


def _read(path: str, files: list[Path], shape: tuple[int, int]) -> list[torch.Tensor]:
    """Every picture, uint8 [channels, *shape]. Raises: UntrustedFileError, naming all that cannot be read."""
    pictures, errors = [], []
    for file in files:
        try:
            pictures.append(_resized(read_image(file), shape))
        except UntrustedFileError as error:
            errors.append((file, error))
    if len(errors) == 1:
        raise errors[0][1]
    if errors:
        named = "; ".join(f"{file.relative_to(path).as_posix()}: {_found(error)}" for file, error in errors[:SHOWN])
        more = f"; and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise UntrustedFileError(
            f"{path}: found {len(errors)} of {len(files)} files that cannot be read ({named}{more}); allowed: {ALLOWED}"
        )
    return pictures


def _found(error: UntrustedFileError) -> str:
    return str(error).partition(": found ")[2].rpartition("; allowed: ")[0]


def _groups(names: list[str], table: str, group: str) -> torch.Tensor:
    """A number from 0 for each picture's group, [n]."""
    rows = read_columns(table, ("file", group))
    listed = {Path(file).as_posix(): whose for file, whose in rows}
    missing = [name for name in names if not listed.get(name)]
    if missing or len(listed) < len(rows):
        twice = next((file for file, _ in rows if sum(file == other for other, _ in rows) > 1), "")
        found = f"no {group} for {missing[0]} ({len(missing)} such)" if missing else f"{twice} more than once"
        raise UntrustedFileError(f"{table}: found {found}; allowed: one row with a {group} for each picture")
    return torch.from_numpy(np.unique([listed[name] for name in names], return_inverse=True)[1].astype(np.int64))


def _resized(picture: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """The largest centered part of that shape's proportions, resized to it: uint8 [channels, height, width]."""
    height, width = picture.shape[:2]
    tall, wide = shape
    rows = max(min(height, round(width * tall / wide)), 1)
    columns = max(min(width, round(height * wide / tall)), 1)
    top, left = (height - rows) // 2, (width - columns) // 2
    cut = torch.from_numpy(picture[top : top + rows, left : left + columns].astype(np.float32))
    resized = F.interpolate(cut.permute(2, 0, 1)[None], size=shape, mode="bilinear", antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8)
