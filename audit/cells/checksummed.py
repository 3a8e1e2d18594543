"""Files with their checksum: one record as one strict JSON document, behind its SHA-256.

The first 64 bytes are the SHA-256, in lower-case hex, of all that follows the newline after them. A file that is
present and matches its hash is finished; nothing else counts as finished.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from seethrough.common.errors import InputError
from seethrough.common.files import naming
from seethrough.reports.row import Cell, Manifest

from .codec import from_plain, to_plain

SCHEMA = 7
MAX_FILE_BYTES = 256 * 2**20

Record = TypeVar("Record")


class DamagedFileError(InputError):
    """A file of the store is not what was written; the message names it and says why."""


class SchemaMismatchError(InputError):
    """A whole file of another format or schema lies where one of ours belongs; it is neither read nor replaced."""


def encode(record: Cell | Manifest) -> bytes:
    """The bytes of the file that keeps `record`.

    Raises: TypeError, for a field that does not hold its declared type; ValueError, for more than MAX_FILE_BYTES.
    """
    kind = type(record)
    document = {"format": _format(kind), "schema": SCHEMA, "content": to_plain(record, kind, kind.__name__)}
    body = json.dumps(document, allow_nan=False).encode()
    data = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"a {kind.__name__} takes {len(data)} bytes, allowed are {MAX_FILE_BYTES}")
    return data


def decode(path: Path, kind: type[Record]) -> Record:
    """The record of type `kind` that the file keeps.

    Raises: FileNotFoundError; DamagedFileError; SchemaMismatchError.
    """
    return decode_bytes(_whole(path), kind, path)


def decode_bytes(data: bytes, kind: type[Record], path: Path | str) -> Record:
    """The record of type `kind` in what would be a file's bytes; `path` names where they are from.

    Raises: DamagedFileError; SchemaMismatchError.
    """
    document = _document(path, _checked_body(path, data))
    found = (document.get("format"), document.get("schema"))
    if found != (_format(kind), SCHEMA):
        raise SchemaMismatchError(
            f"{path} has format and schema {found!r:.140}, allowed are {(_format(kind), SCHEMA)}: read it with "
            "the version of seethrough that wrote it, or make the audit anew in another folder"
        )
    try:
        return from_plain(document.get("content"), kind, kind.__name__)
    except (TypeError, ValueError) as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error


def _whole(path: Path) -> bytes:
    path.lstat()
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        raise DamagedFileError(f"{path} is damaged: it is no regular file of at most {MAX_FILE_BYTES} bytes")
    with naming(path):
        return path.read_bytes()


def _checked_body(path: Path | str, data: bytes) -> bytes:
    if data[:65] != hashlib.sha256(data[65:]).hexdigest().encode() + b"\n":
        raise DamagedFileError(f"{path} is damaged: its content does not match its SHA-256")
    return data[65:]


def _document(path: Path | str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaMismatchError(f"{path} is whole but holds no strict JSON: {error}") from error
    if not isinstance(document, dict):
        raise SchemaMismatchError(f"{path} is whole but holds no JSON object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _format(kind: type) -> str:
    return f"seethrough {kind.__name__.lower()}"
