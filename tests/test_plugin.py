"""Entries from another package, as `examples/plugin` adds them: found by their entry points, run, named in every report."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from seethrough import defenses
from seethrough.common.catalog import catalog
from seethrough.defenses import Defense

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "examples" / "plugin"
ENTRIES = {
    "attacks": "nearest_public",
    "defenses": "rounding",
    "metrics": "absolute_error",
    "data": "stripes",
    "models": "perceptron",
}
BUILD = "from setuptools import build_meta; build_meta.build_wheel('dist')"
SPEC = """
name: small
trials: 1
settings: [{name: stripes, data: {stripes: {count: 200}}, model: perceptron, batch_size: 2, labels: unique}]
threats: [{name: server, grants: [count, recipe, public]}]
defenses: [none, rounding]
attacks: [nearest_public]
metrics: [psnr, absolute_error]
"""


def installed(folder: Path, **changes: str) -> Path:
    """A folder with the plugin installed in it, `changes` put in the place of texts of its pyproject.toml."""
    copy = folder / "copy"
    shutil.copytree(PLUGIN, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    project = (copy / "pyproject.toml").read_text()
    for old, new in changes.items():
        assert old in project
        project = project.replace(old, new)
    (copy / "pyproject.toml").write_text(project)
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (copy / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(site: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory.mktemp("plugin"))


def test_entries_of_another_package_are_listed_with_where_they_come_from_and_are_in_the_schema(site, tmp_path):
    listed = run(site, tmp_path, "-m", "seethrough", "list").stdout
    for name in ENTRIES.values():
        assert name in listed
    assert listed.count("from seethrough-example 0.1.0") == len(ENTRIES)
    schema = run(site, tmp_path, "-m", "seethrough", "schema").stdout
    assert json.loads(schema) and all(f'"{name}"' in schema for name in ENTRIES.values())


def test_an_audit_of_them_names_the_package_and_is_computed_anew_for_another_version(site, tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    command = ("-m", "seethrough", "run", "spec.yaml", "--out", "out", "--workers", "1")
    done = run(site, tmp_path, *command)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == {"psnr", "absolute_error"}
    assert {row["defense"] for row in rows} == {"none", "rounding"}
    assert all(row["status"] == "ok" for row in rows)
    assert "seethrough-example" in (tmp_path / "out" / "index.html").read_text()
    newer = installed(tmp_path, **{'version = "0.1.0"': 'version = "0.2.0"'})
    assert "0 of them finished before" in run(newer, tmp_path, *command, "--shard", "1/4").stdout


BROKEN = [
    ("rounding", "seethrough.defenses:Missing", "AttributeError"),
    ("rounding", "nowhere:Rounding", "ModuleNotFoundError: No module named 'nowhere'"),
    ("rounding", "seethrough.defenses:Batch", "allowed: a subclass of Defense, decorated with @entry"),
    ("clipping", "seethrough.defenses.none:NoDefense", "ValueError: `clipping` is taken"),
]


@pytest.mark.parametrize(("name", "value", "said"), BROKEN)
def test_an_entry_that_cannot_be_had_is_named_and_left_out(monkeypatch, name, value, said):
    point = EntryPoint(name, value, "seethrough.defenses")
    monkeypatch.setattr("seethrough.common.catalog.entry_points", lambda group: [point])
    found = catalog.__wrapped__(defenses, Defense)
    assert found.entries == catalog(defenses, Defense).entries
    (problem,) = found.problems
    assert f"entry point seethrough.defenses {name} = {value}: " in problem
    assert said in problem and problem.endswith("; it is left out.")


def test_the_others_stay_where_one_cannot_be_had(tmp_path):
    site = installed(tmp_path, **{"rounding:Rounding": "rounding:Missing"})
    done = run(site, tmp_path, "-m", "seethrough", "list")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for kind, name in ENTRIES.items() if kind != "defenses")
    assert "seethrough-example, entry point seethrough.defenses rounding" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_contracts_run_on_them_by_one_import(site, tmp_path):
    test = PLUGIN / "tests" / "test_contracts.py"
    assert [line for line in test.read_text().splitlines() if "import" in line] == [
        "from seethrough.contracts import *  # noqa: F403"
    ]
    done = run(site, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test), "--rootdir", str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout or done.stdout.count(".") > 40
