"""What the documents show is what the code does."""

import re
from pathlib import Path

import pytest

from seethrough.audit.specification.file import load_spec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", blocks("python"))
def test_the_readmes_python_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_readmes_spec_is_valid(block, tmp_path):
    (tmp_path / "spec.yaml").write_text(block)
    load_spec(tmp_path / "spec.yaml")


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_example_is_a_valid_spec(file):
    load_spec(file)


def test_the_readmes_make_commands_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake (audit|test|\w+)\b {2,}#", README))
    assert named == {"audit", "test"}
    assert named <= targets


@pytest.mark.parametrize(
    "path",
    re.findall(
        r"`((?:audit|attacks|common|defenses|reports|src|tests)/[\w/.]+)`", (ROOT / "CONTRIBUTING.md").read_text()
    ),
)
def test_every_file_that_contributing_names_exists(path):
    assert (ROOT / path).exists()
