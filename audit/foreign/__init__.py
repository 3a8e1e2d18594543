"""Files that others wrote, read with sizes checked as declared before anything is allocated, and nothing unpickled."""

from audit.foreign._files import ForeignFileError, sha256_of
from audit.foreign._image import read_image
from audit.foreign._npz import read_npz
from audit.foreign._safetensors import check_tensors, read_safetensors
from audit.foreign._table import read_columns
from audit.foreign._yaml import Document, read_yaml

__all__ = [
    "Document",
    "ForeignFileError",
    "check_tensors",
    "read_columns",
    "read_image",
    "read_npz",
    "read_safetensors",
    "read_yaml",
    "sha256_of",
]
