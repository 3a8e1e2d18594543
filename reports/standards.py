"""Which part of a report supports evidence for which point of a law or guideline."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


@dataclass(frozen=True)
class Point:
    """One point of one document."""

    document: str
    point: str
    supports: str
    section: str  # anchor of the page


@cache
def standards() -> tuple[Point, ...]:
    """The mapping that is built in, `standards.yaml`."""
    text = (files("seethrough.reports") / "standards.yaml").read_text(encoding="utf-8")
    return tuple(Point(**each) for each in yaml.safe_load(text))
