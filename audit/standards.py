"""Points of laws and guidelines from a user's file, for the page to show beside those that are built in."""

import json
from pathlib import Path

from pydantic import ValidationError

from seethrough.common.errors import InputError
from seethrough.reports.standards import POINTS, Point

from .specification.error_messages import SpecError, sentences
from .untrusted import read_yaml


def load_standards(path: Path) -> tuple[Point, ...]:
    """The points in a YAML file, a list of the form of `reports/standards.yaml`. Raises: SpecError, UntrustedFileError or
    InputError, naming the file and the field."""
    if not path.exists():
        raise InputError(f"--standards: found no file {path}; allowed: a YAML file that exists.")
    document = read_yaml(path)
    try:
        return POINTS.validate_json(json.dumps(document.data))
    except ValidationError as error:
        raise SpecError(tuple(sentences(str(path), document, error))) from None
