"""What is installed: one top-level name, whole from a wheel and from a source archive, deaf to what lies around it."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import jedi
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("attacks", "audit", "common", "contracts", "defenses", "federation", "recipes", "reports")
STUBS = (*ROOMS, "tests", "numpy_utils", "torch_utils", "seethrough_plugins")
SPEC = """
name: small
trials: 1
settings:
  - {name: digits, data: {digits: {size: 8}}, model: MODEL, batch_size: 2, labels: unique}
threats: [{name: server, grants: [count, recipe, public]}]
defenses: [none]
attacks: [label_counts]
metrics: [label_accuracy]
"""
BUILD = "from setuptools import build_meta; build_meta.build_{kind}('dist')"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a wheel and a source archive of the working tree."""
    copy = tmp_path_factory.mktemp("build") / "seethrough"
    skipped = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "audit-results", "results", "__pycache__")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=skipped)
    for kind in ("sdist", "wheel"):
        _build(kind, copy)
    return copy / "dist"


def _build(kind: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD.format(kind=kind)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _files(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def _wheel(folder: Path) -> Path:
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_one_top_level_name_and_every_file_of_every_room(built):
    files = _files(_wheel(built))
    assert {name.split("/")[0] for name in files} == {"seethrough"}
    wanted = {
        f"seethrough/{path.relative_to(ROOT)}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".yaml", ".html", ".css")
    }
    assert len(wanted) > 150
    assert files == wanted | {
        "seethrough/__init__.py",
        "seethrough/__main__.py",
        "seethrough/flower.py",
        "seethrough/py.typed",
    }


def test_the_source_archive_builds_the_same_wheel(built, tmp_path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        assert not [member.name for member in file if member.issym()], "links would not survive on every system"
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    _build("wheel", folder)
    assert _files(_wheel(folder / "dist")) == _files(_wheel(built))


def _run(site: Path, folder: Path, *command: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def site(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: ours, and others that raise when they are imported, PyPI's `reports` among them."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(_wheel(built)).extractall(folder)
    for name in ROOMS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('another package named {name}')\n")
    return folder


def _stubs(folder: Path) -> None:
    for name in STUBS:
        (folder / f"{name}.py").write_text("raise RuntimeError('imported from the current folder')\n")


COMMAND = ("-c", "from seethrough.audit.cli import main; main()")  # what the installed script runs


@pytest.mark.parametrize("start", [("-m", "seethrough"), pytest.param(COMMAND, marks=pytest.mark.slow)])
def test_a_run_among_stubs_and_packages_of_our_rooms_names_imports_none_of_them(site, tmp_path, start):
    _stubs(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("MODEL", "convnet"))
    done = _run(site, tmp_path, *start, "run", "spec.yaml", "--out", "out", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").exists()
    where = _run(site, tmp_path, "-c", "import seethrough.attacks as room; print(room.__file__)").stdout.strip()
    assert where == str(site / "seethrough" / "attacks" / "__init__.py")


def test_the_current_folder_is_looked_into_where_the_spec_names_a_module_there(site, tmp_path):
    _stubs(tmp_path)
    (tmp_path / "helper.py").write_text("from torch import nn\n\nWIDTH = 8\n")
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef build(shape, classes):\n    from helper import WIDTH\n\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))\n"
    )
    (tmp_path / "spec.yaml").write_text(SPEC.replace("MODEL", "'mine:build'"))
    done = _run(site, tmp_path, "-m", "seethrough", "run", "spec.yaml", "--out", "out", "--workers", "2")
    assert done.returncode == 0, done.stderr


def test_code_in_the_current_folder_is_hashed_whether_or_not_it_was_imported_before(site, tmp_path):
    """A key that is made before the module is imported must cover it as well."""
    (tmp_path / "mine.py").write_text("WIDTH = 8\n")
    hashed = (
        "import sys; sys.path.remove(''); from seethrough.common.user_sources import code_of; print(code_of('mine'))"
    )
    first = _run(site, tmp_path, "-c", hashed).stdout
    (tmp_path / "mine.py").write_text("WIDTH = 9\n")
    assert len(first.strip()) == 64
    assert first != _run(site, tmp_path, "-c", hashed).stdout


def test_a_script_without_a_main_guard_runs_its_audit_once(site, tmp_path):
    (tmp_path / "script.py").write_text(
        "import seethrough\n\nprint('started')\n"
        "spec = seethrough.spec(name='small', trials=1, defenses=['none'], attacks=['label_counts'],\n"
        "    metrics=['label_accuracy'],\n"
        "    threats=[{'name': 'server', 'grants': ('count', 'recipe', 'public')}],\n"
        "    settings=[{'name': 'digits', 'data': {'digits': {'size': 8}}, 'model': 'convnet', 'batch_size': 2}])\n"
        "results = seethrough.audit(spec, out='out', workers=2, quiet=True)\n"
        "print(len(results.cells), len(results.table), results.page)\n"
    )
    done = _run(site, tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["started", f"1 1 {Path('out') / 'index.html'}"]


@pytest.mark.parametrize(
    ("line", "name", "defined"),
    [
        ("from seethrough.common.entry import", "entry", "common/entry.py"),
        ("from seethrough.recipes import", "Recipe", "recipes/recipe.py"),
        ("from .engine.search import", "descend", "attacks/engine/search.py"),
    ],
)
def test_an_editor_finds_definitions_across_rooms(line, name, defined):
    file = ROOT / "attacks" / "gradinversion.py"
    lines = file.read_text().splitlines()
    number = next(place for place, text in enumerate(lines) if text.startswith(line))
    script = jedi.Script(path=file, project=jedi.Project(ROOT, added_sys_path=[str(ROOT / "src")]))
    (found,) = script.goto(number + 1, lines[number].rindex(name) + 1, follow_imports=True)
    assert Path(found.module_path).resolve() == ROOT / defined
