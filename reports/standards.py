"""Which part of a report supports evidence for which point of a law or guideline."""

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter

from seethrough.common.section import Section

Words = Annotated[str, Field(min_length=1)]
Anchor = Literal["verdict", "glance", "claims", "method", "glossary", "coverage", "repeat"]


class Point(Section):
    """One point of one document."""

    document: Words
    """The law or guideline, and where in it."""
    point: Words
    """What it asks to be shown."""
    supports: Words
    """What of a report is evidence for that."""
    section: Anchor
    """The part of the page that shows it."""


POINTS: TypeAdapter[tuple[Point, ...]] = TypeAdapter(Annotated[tuple[Point, ...], Field(min_length=1)])


@cache
def standards() -> tuple[Point, ...]:
    """The mapping that is built in, `standards.yaml`."""
    text = (files("seethrough.reports") / "standards.yaml").read_text(encoding="utf-8")
    return POINTS.validate_python(tuple(yaml.safe_load(text)))
