"""What has a name in a spec and in a report."""

from typing import Any

import pydantic
from pydantic import ConfigDict, Field
from typing_extensions import dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def entry(cls: type) -> Any:
    """`cls` as a frozen dataclass of validated literals: what has a name in a spec and in a report.

    Raises (when instantiated): pydantic.ValidationError, for a value of the wrong type or out of range.
    """
    return pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))(cls)
