"""Files that others wrote, read with sizes checked as declared before anything is allocated, and nothing unpickled.

What reads tensors, `safetensors.py`, `tensors.py` and `torch_file.py`, is imported from there: torch takes seconds.
"""

from .files import UntrustedFileError, sha256_of
from .image import read_image
from .npz import read_npz
from .table import read_columns
from .yaml import Document, parse_yaml, read_yaml, written_yaml

__all__ = [
    "Document",
    "UntrustedFileError",
    "parse_yaml",
    "read_columns",
    "read_image",
    "read_npz",
    "read_yaml",
    "sha256_of",
    "written_yaml",
]
