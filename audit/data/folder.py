"""A folder of PNG or JPEG images, one subfolder for each class."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator

from seethrough.common.entry import entry

from ..untrusted import UntrustedFileError, read_columns, read_image
from ._base import Data, Images

SUFFIXES = {".png", ".jpg", ".jpeg"}


@entry
class Folder(Data):
    """PNG and JPEG files in `path`/<class>/, classes in alphabetical order, all resized to `size` x `size` pixels.

    Pictures are cut to the largest centered square first; a single color picture makes all of them three-channeled. `table`
    is a CSV file with a column `file` (such as cat/1.png) and one named by `group` that says whose each picture is, such as a
    patient's: nobody's pictures are divided between parts or clients.
    """

    path: str = Field(min_length=1)
    size: int = Field(default=32, ge=8, le=1024)
    table: str = ""
    group: str = ""

    @model_validator(mode="after")
    def _table_has_a_column(self) -> "Folder":
        if bool(self.table) != bool(self.group):
            raise ValueError("table and group, or neither: a CSV file and the column that says whose each picture is")
        return self

    def load(self) -> Images:
        return _load(self.path, self.size, self.table, self.group)


@cache
def _load(path: str, size: int, table: str, group: str) -> Images:
    root = Path(path)
    if not root.is_dir():
        raise UntrustedFileError(
            f"{path}: found no folder; allowed: a folder with one subfolder of images for each class"
        )
    classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((root / name).iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise UntrustedFileError(f"{path}: found no images; allowed: PNG or JPEG files in one subfolder for each class")
    pictures = [read_image(file) for file, _ in files]
    channels = max(picture.shape[2] for picture in pictures)
    pixels = torch.cat([_square(picture, size, channels) for picture in pictures])
    whose = _groups([file.relative_to(root).as_posix() for file, _ in files], table, group) if table else None
    return Images(pixels, torch.tensor([label for _, label in files]), classes=len(classes), groups=whose)


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


def _square(picture: np.ndarray, size: int, channels: int) -> torch.Tensor:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = torch.from_numpy(picture[top : top + side, left : left + side].astype(np.float32))
    resized = F.interpolate(cut.permute(2, 0, 1)[None], size=(size, size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8).expand(1, channels, size, size).contiguous()
