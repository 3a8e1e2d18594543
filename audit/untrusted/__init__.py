"""Files that others wrote, read with sizes checked as declared before anything is allocated, and nothing unpickled."""

from seethrough.audit.untrusted.files import ForeignFileError, sha256_of
from seethrough.audit.untrusted.image import read_image
from seethrough.audit.untrusted.npz import read_npz
from seethrough.audit.untrusted.safetensors import check_tensors, read_safetensors
from seethrough.audit.untrusted.table import read_columns
from seethrough.audit.untrusted.yaml import Document, read_yaml

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
