"""The pages in docs/ say what the code has, and their drawing is that of its imports."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

import seethrough
from seethrough.audit.cli import main
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


def test_the_page_that_takes_a_reader_to_a_report_does(tmp_path, monkeypatch):
    """Its first snippet as it stands, its commands, and its NVFlare snippet with a stand-in."""
    page = (DOCS / "your-model.md").read_text().partition("## A network of your own")[0]
    first, loop = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    commands = re.findall(r"^seethrough (.*?)(?: +#.*)?$", page, flags=re.MULTILINE)[:2]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model.py").write_text(first.partition("digits = ")[0])
    exec(compile(first, "your-model.md", "exec"), {})
    for command in commands:
        monkeypatch.setattr("sys.argv", ["seethrough", *command.split()])
        if command.startswith("run"):
            spec = Path("my_audit.yaml").read_text()
            spec = re.sub(r"model: .*", "model: my_model:build", spec).replace("steps: 300", "steps: 20")
            Path("my_audit.yaml").write_text(spec)
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
    table = seethrough.Results.read("results").table
    assert (table[table.metric == "label_accuracy"].value == 1.0).all()
    assert set(table[table.status == "ok"].metric) == {"label_accuracy", "psnr", "ssim"}
    assert "unavailable" in set(table[table.metric == "explained"].status)  # there are no public images

    names = {"seethrough": seethrough}
    exec(compile(loop, "your-model.md", "exec"), names)
    names["train_and_record"](Flare(), nn.Linear(2, 2), train_a_little, 4)
    assert (tmp_path / "recordings" / "site-1" / "round-4" / "recording.json").is_file()


class Flare:
    """What nvflare.client is to the snippet."""

    FLModel = dict

    def receive(self):
        return SimpleNamespace(params={"weight": torch.ones(2, 2), "bias": torch.zeros(2)})

    def get_site_name(self):
        return "site-1"

    def send(self, model):
        assert torch.equal(model["params"]["bias"], torch.ones(2))


def train_a_little(model):
    nn.init.ones_(model.bias)
    return 3


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
