"""The commands that read a run: they need no torch, and take no longer to start than they must."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from seethrough.audit.cells.finished import finished_cells
from seethrough.audit.cells.store import Store
from seethrough.reports import Cell, Manifest, Pictures
from seethrough.reports.headline import failed_control, headline
from seethrough.reports.page import render_page
from seethrough.reports.report import read_report
from tests.reports_samples import kept, manifest, measured, place, png, score

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


@pytest.mark.parametrize("arguments", [("schema", "report"), ("compare", "run", "run")])
def test_what_reads_runs_needs_no_torch(arguments: tuple[str, ...], tmp_path: Path):
    folder = kept(tmp_path / "run", run(none=LEAK, noise=FLOOR))
    said = without_torch(*(str(folder) if each == "run" else each for each in arguments))
    assert said.returncode == 0 and said.stdout, said.stderr


@pytest.mark.parametrize(
    ("arguments", "spared"), [(("check",), "jinja2"), (("report",), "scipy.optimize"), (("list", "metrics"), "sklearn")]
)
def test_commands_import_nothing_slow_that_they_do_not_use(arguments: tuple[str, ...], spared: str, tmp_path: Path):
    folder = kept(tmp_path / "run", run(none=LEAK, noise=FLOOR))
    command = [sys.executable, "-X", "importtime", "-c", "from seethrough.audit.cli import main; main()", *arguments]
    said = subprocess.run(
        [*command, *([] if "list" in arguments else [str(folder)])], capture_output=True, text=True, timeout=120
    )
    imported = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines() if "|" in line}
    assert "seethrough.audit.cli" in imported and spared not in imported


def test_of_each_combination_the_pictures_of_the_first_trial_that_has_some_are_kept(tmp_path: Path):
    planned, cells = run(none=LEAK, noise=FLOOR)
    pictures = Pictures((png(),), (png(),), ())
    pictured = [replace(cell, pictures=None if "/0" in cell.key else pictures) for cell in cells]
    store = Store(kept(tmp_path / "run", (planned, pictured)))
    planned = store.read_manifest()
    light = finished_cells(store, planned, Console(quiet=True))
    whole = finished_cells(store, planned, Console(quiet=True), all_pictures=True)
    assert [cell.key for cell in light] == [cell.key for cell in whole] == [place.key for place in planned.places]
    held = [place for place, cell in zip(planned.places, light, strict=True) if cell.pictures is not None]
    assert [(place.defense, place.trial) for place in held] == [("none", 1), ("noise", 1)]
    assert [cell.pictures is not None for cell in whole] == ([False] + [True] * 5) * 2
    assert render_page(read_report(planned, light)) == render_page(read_report(planned, whole))


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


MADE_OF_IT = """
import os, signal
from seethrough.audit.cli import shell
def app(standalone_mode):
    try:
        os.kill(os.getpid(), signal.{number})
    except KeyboardInterrupt:
        raise ValueError("what native code makes of it") from None
shell.app = app
{before}
shell.main()
"""


LISTENING = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where the tests run in the background


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 130), ("SIGCONT", 0)])
def test_an_error_that_native_code_makes_of_an_interrupt_is_one(number: str, code: int):
    said = subprocess.run(
        [sys.executable, "-c", MADE_OF_IT.format(number=number, before=LISTENING)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == code and "Traceback" not in said.stderr, said.stderr


def test_a_job_in_the_background_goes_on_ignoring_interrupts():
    ignoring = MADE_OF_IT.format(number="SIGINT", before="signal.signal(signal.SIGINT, signal.SIG_IGN)")
    assert subprocess.run([sys.executable, "-c", ignoring], timeout=60).returncode == 0


def test_other_errors_are_not_taken_for_interrupts():
    broken = MADE_OF_IT.replace("except KeyboardInterrupt:", "finally:").format(number="SIGCONT", before="")
    said = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, timeout=60)
    assert said.returncode == 1 and "ValueError: what native code makes of it" in said.stderr


def test_a_run_starts_without_what_only_some_of_its_cells_want():
    """Each worker and the process that plans would import it again: a seventh of what they take to start."""
    asked = "import sys; import seethrough.audit.run, seethrough.audit.cells.compute; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy.stats", "sklearn", "pandas", "matplotlib", "opacus", "lpips"} & set(loaded)
