"""Pages from templates: text is escaped, what would hide or reorder letters is written out, no name may be missing."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from seethrough.common.console import visible


def template(name: str, **known: Any) -> Template:
    """The packaged template `name`; it, and the templates that it includes and imports, can use what is `known`."""
    environment = Environment(
        loader=FunctionLoader(_packaged),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(known)
    return environment.get_template(name)


def style() -> Markup:
    """The style sheet of all pages."""
    return Markup(_packaged("page.css"))


def _packaged(name: str) -> str:
    return resources.files("seethrough.reports").joinpath(name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    return visible(value) if type(value) is str else value
