"""Which entries the contracts are run on, and with which parameters."""

import dataclasses
from types import ModuleType
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from torch import Generator

from seethrough.audit.specification.kinds import entries_of
from seethrough.common.catalog import name_of

FIXTURES = {
    "attack_name": "attacks",
    "defense_name": "defenses",
    "metric_name": "metrics",
    "data_name": "data",
    "model_name": "models",
    "weights_name": "weights",
}
"""Parameters of tests that stand for the name of an entry, with its kind."""


def names_of(kind: str, module: ModuleType) -> list[str]:
    """The entries that other packages add; all, where the test module says `BUILT_IN = True`; none in its `LEFT_OUT[kind]`."""
    found, left_out = entries_of(kind), getattr(module, "LEFT_OUT", {}).get(kind, ())
    chosen = found.entries if getattr(module, "BUILT_IN", False) else map(name_of, found.origins)
    return sorted(set(chosen).difference(left_out))


def built(kind: str, name: str, module: ModuleType) -> Any:
    """The entry, with what the test module gives it in `PARAMETERS[kind][name]`."""
    cls = entries_of(kind).entries[name]
    given = getattr(module, "PARAMETERS", {}).get(kind, {}).get(name, {})
    missing = [each.name for each in dataclasses.fields(cls) if _is_needed(each) and each.name not in given]
    if missing:
        pytest.fail(f"give `{name}` small values of {', '.join(missing)} in PARAMETERS['{kind}'] of {module.__file__}")
    return cls(**given)


def seeded(seed: int = 0) -> Generator:
    """A stream of randomness."""
    return Generator().manual_seed(seed)


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    if isinstance(field.default, FieldInfo):
        return field.default.is_required()
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
