"""The commands that read a run: they need no torch, and take no longer to start than they must."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seethrough.reports import Cell, Manifest
from seethrough.reports.headline import failed_control, headline
from seethrough.reports.report import read_report
from tests.reports_samples import kept, manifest, measured, place, score

LEAK, FLOOR = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05)
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from seethrough.audit.cli import main; main()"


def run(**columns: tuple[float, ...]) -> tuple[Manifest, list[Cell]]:
    places = [place(trial, defense=defense) for defense, values in columns.items() for trial in range(len(values))]
    values = [value for column in columns.values() for value in column]
    return manifest(places), [measured(at, score(value)) for at, value in zip(places, values, strict=True)]


def without_torch(*arguments: str) -> subprocess.CompletedProcess:
    variables = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)


def test_a_report_is_rebuilt_without_torch_to_the_same_bytes(tmp_path: Path):
    folder = kept(tmp_path / "run", run(none=LEAK, noise=FLOOR))
    first = without_torch("report", str(folder))
    assert first.returncode == 0, first.stderr
    documents = {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}
    assert {"index.html", "results.csv", "results.md"} <= documents.keys()
    again = without_torch("report", str(folder))
    assert again.stdout == first.stdout
    assert {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()} == documents


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("report", "--help"), ("run", "--help")])
def test_words_alone_need_no_torch(arguments: tuple[str, ...]):
    said = without_torch(*arguments)
    assert said.returncode == 0 and said.stdout, said.stderr


def test_a_policy_is_checked_without_torch(tmp_path: Path):
    folder = kept(tmp_path / "run", run(none=LEAK, noise=FLOOR))
    said = without_torch("check", str(folder), "--policy", "research")
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"none": LEAK, "noise": FLOOR}, ""),
        (
            {"none": LEAK, "noise": FLOOR, "random_update": LEAK},
            "The negative control fails: something was found in noise",
        ),
        ({"none": FLOOR, "noise": FLOOR}, "The positive control fails: nothing was found in undefended updates either"),
        ({"none": FLOOR}, ""),  # nothing was defended: the question is what undefended updates give away
        ({"none": (0.9,), "noise": (0.1,)}, ""),  # too few batches to say that it fails
    ],
)
def test_a_control_that_fails_is_the_first_word_and_has_its_own_exit_code(columns, words: str, tmp_path: Path):
    audit = run(**columns)
    blocks = read_report(*audit).blocks
    assert failed_control(blocks).startswith(words) and bool(failed_control(blocks)) == bool(words)
    assert headline(blocks).startswith(words)
    said = without_torch("report", str(kept(tmp_path / "run", audit)))
    assert said.returncode == (5 if words else 0), said.stderr
    assert " ".join(said.stderr.split()).startswith(words)
