"""Imports run one way, audit -> attacks -> defenses -> recipes and audit -> reports, and a View withholds by default."""

import ast
import dataclasses
from functools import cache
from pathlib import Path

import pytest
from torch import nn

from seethrough.attacks import NotGrantedError, Space, View
from seethrough.defenses import NotApplicableError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("attacks", "audit", "common", "contracts", "defenses", "federation", "recipes", "reports")
TENSORS = {"torch", "torchvision", "opacus", "lpips"}
ROOMS = {f"seethrough.{package}" for package in PACKAGES}
FORBIDDEN = {
    "seethrough": set(),
    "seethrough.attacks": {"seethrough.audit", "seethrough.contracts", "seethrough.reports"},
    "seethrough.audit": {"seethrough.contracts"},
    "seethrough.common": ROOMS - {"seethrough.common"},
    "seethrough.contracts": set(),
    "seethrough.federation": ROOMS
    - {"seethrough.federation", "seethrough.defenses", "seethrough.recipes", "seethrough.common"},
    "seethrough.defenses": ROOMS - {"seethrough.defenses", "seethrough.common", "seethrough.recipes"},
    "seethrough.recipes": ROOMS - {"seethrough.recipes", "seethrough.common"},
    "seethrough.reports": ROOMS - {"seethrough.reports", "seethrough.common"} | TENSORS,
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the project, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = ("seethrough", *path.relative_to(ROOT).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, name: str, is_package: bool) -> set[str]:
    """The dotted names that the module `name` may import anywhere in its source, functions included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = name.split(".") if is_package else name.split(".")[:-1]
            above = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _named(node.func) in {"import_module", "__import__"}:
            found |= {
                part.value for part in node.args[:1] if isinstance(part, ast.Constant) and isinstance(part.value, str)
            }
    return found


def _named(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def imports_of(name: str) -> frozenset[str]:
    path = modules()[name]
    return frozenset(imported(path.read_text(encoding="utf-8"), name, path.name == "__init__.py"))


def reached(name: str) -> dict[str, str]:
    """Every name that importing the module may import, through the project's own modules, with who imports it."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        importer = waiting.pop()
        for target in imports_of(importer):
            ancestors = [target.rsplit(".", up)[0] for up in range(target.count(".") + 1)]
            for part in ancestors:
                if part not in found:
                    found[part] = importer
                    waiting += [part] if part in modules() else []
    return found


@pytest.mark.parametrize("name", modules())
def test_no_module_reaches_what_its_package_may_not_know(name: str):
    forbidden = FORBIDDEN[_room(name)]
    trespasses = {target: importer for target, importer in reached(name).items() if _room(target) in forbidden}
    assert not trespasses


def _room(name: str) -> str:
    """The room of ours that a module stands in, or the top-level name of another's."""
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "seethrough" else 1])


def test_nothing_of_ours_is_imported_under_another_name_than_seethrough():
    sources = (*modules().values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"))
    for source in sources:
        found = imported(source.read_text(encoding="utf-8"), "seethrough.x.y", is_package=False)
        assert not {name for name in found if name.split(".")[0] in PACKAGES}, source


def test_the_walk_sees_imports_of_every_form():
    source = """
import seethrough.audit.threat as threat
from seethrough.audit import case
def late():
    from seethrough.federation.rounds import Round
    import importlib
    importlib.import_module("seethrough.audit.plan")
    __import__("seethrough.audit.trial")
from . import _base
from .distances import cosine
from .. import reports
"""
    found = imported(source, "seethrough.attacks.deep.cheat", is_package=False)
    assert {f"seethrough.audit.{name}" for name in ("threat", "case", "plan", "trial")} <= found
    assert {f"seethrough.attacks.{name}" for name in ("deep._base", "deep.distances", "reports")} <= found


def test_the_walk_follows_the_projects_own_modules():
    assert "seethrough.defenses._base" in reached("seethrough.attacks.dlg")
    assert "torch" in reached("seethrough.attacks.parts.simulated_client")
    above = reached("seethrough.attacks.gradinversion")["skimage.registration"]
    assert above == "seethrough.attacks.parts.registration"


def test_every_package_has_modules_to_walk():
    assert all(any(name.startswith(f"{room}.") for name in modules()) for room in ROOMS)


def test_what_a_view_is_not_given_it_does_not_have():
    view = View(nn.Linear(1, 2), {}, Space((1, 1, 1), 2))
    facts = [field.name for field in dataclasses.fields(View) if field.default is not dataclasses.MISSING]
    assert set(facts) == {
        "count",
        "labels",
        "buffers",
        "recipe",
        "order",
        "defense",
        "public",
        "participants",
        "past",
        "sums",
        "lists",
        "aborted",
    }
    for fact in facts:
        assert getattr(view, fact) is None
        with pytest.raises(NotGrantedError, match=f"needs `{fact}`, which the threat model does not grant"):
            view.need(fact)


def test_need_names_the_first_fact_that_is_missing_and_passes_those_that_are_there():
    view = View(nn.Linear(1, 2), {}, Space((1, 1, 1), 2), count=3, participants=1)
    view.need("count", "participants")
    view.need()
    with pytest.raises(NotGrantedError, match="`recipe`"):
        view.need("count", "recipe", "public")


def test_a_fact_that_is_not_granted_makes_a_cell_not_applicable():
    assert issubclass(NotGrantedError, NotApplicableError)


def test_a_view_cannot_be_changed():
    view = View(nn.Linear(1, 2), {}, Space((1, 1, 1), 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.count = 3
