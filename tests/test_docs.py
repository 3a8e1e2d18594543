"""The pages in docs/ say what the code has, and their drawing is that of its imports."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import seethrough
from seethrough.audit.specification.kinds import entries_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def headings(page: str) -> list[str]:
    return re.findall(r"^## (\w+)$", (DOCS / page).read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(("kind", "page"), [("attacks", "attacks.md"), ("defenses", "defenses.md")])
def test_every_attack_and_defense_has_a_paragraph_and_no_other(kind, page):
    found = entries_of(kind)
    assert sorted(headings(page)) == sorted(name for name, cls in found.entries.items() if cls not in found.origins)


def test_every_public_name_is_in_the_table_and_can_be_had():
    table = (DOCS / "python.md").read_text().partition("## The public names")[2].partition("## ")[0]
    named = set(re.findall(r"`(\w+)[`(]", "\n".join(row.split("|")[1] for row in table.splitlines() if "|" in row)))
    assert named == set(seethrough.__all__)
    assert all(getattr(seethrough, name) is not None for name in seethrough.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        seethrough.no_such_name  # noqa: B018


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), flags=re.DOTALL))
def test_python_in_the_docs_runs(block, tmp_path, monkeypatch):
    if "my_audit.yaml" in block or "seethrough.contracts" in block:
        pytest.skip("needs a file of the user's, or is a test module's line")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "python.md", "exec"), {"seethrough": seethrough})


def test_the_drawing_is_that_of_the_imports():
    described = importlib.util.spec_from_file_location("draw", DOCS / "draw_architecture.py")
    assert described and described.loader
    draw = importlib.util.module_from_spec(described)
    described.loader.exec_module(draw)
    drawn = (DOCS / "architecture.svg").read_text()
    assert drawn == draw.drawing(), "python docs/draw_architecture.py makes it anew"
    with pytest.raises(ValueError, match="a circle of imports"):
        draw.floors({"a": {"b"}, "b": {"a"}})


def test_every_page_is_in_the_navigation_and_every_study_opens_with_its_answer():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert pages == set(re.findall(r"([\w/-]+\.md)", text))
    assert yaml.safe_load(text)["theme"]["name"] == "material"
    for path in (DOCS / "studies").glob("*.md"):
        title, answer = [part for part in path.read_text().split("\n\n") if part][:2]
        if path.name != "index.md":
            assert title.startswith("# ") and title.endswith("?")
            assert answer.startswith("**") and answer.rstrip().endswith(".**")
