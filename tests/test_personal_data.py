"""Pictures of real people: left out of a report unless asked for, and taken out of a run for good."""

from dataclasses import replace
from pathlib import Path

import pytest

import seethrough
from seethrough.audit.cells.store import DamagedFileError, Store
from seethrough.audit.cli import main
from seethrough.audit.data import Data
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.folder import Folder
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.torchvision import Torchvision
from seethrough.reports import Cell, Manifest, Pictures
from seethrough.reports.row import ClassCount, FoundLabels, LabelCounts
from tests.reports_samples import kept, manifest, measured, place, png, score

PERSON = png(77)
CONDITION = "pneumonia"  # of which a true label is
PICTURES = Pictures((PERSON,), (PERSON,), (PERSON,))


def audit(personal: tuple[str, ...] = ("setting",)) -> tuple[Manifest, list[Cell]]:
    found = FoundLabels("alice", (("ill", 3),))
    counts = LabelCounts("client", "public proportions", (ClassCount(0, CONDITION, 3, 2, 1),))
    more = {"pictures": PICTURES, "labels": found, "label_counts": counts}
    cells = [measured(place(trial), score(0.8), **more) for trial in range(6)]
    return replace(manifest([place(trial) for trial in range(6)]), personal=personal), cells


def typed(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["seethrough", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_only_published_data_sets_are_shown_unasked():
    assert Digits.published and Torchvision.published
    assert not (Data.published or Folder.published or Npz.published)


def test_pictures_of_real_people_are_left_out_unless_asked_for(tmp_path: Path, monkeypatch):
    folder = kept(tmp_path / "run", audit())
    assert typed(monkeypatch, "report", str(folder)) == 0
    page = (folder / "index.html").read_text()
    assert PERSON not in page and "Pictures are left out" in page and "--include-private" in page
    assert CONDITION not in page and "True labels are left out" in page
    assert typed(monkeypatch, "report", str(folder), "--include-private") == 0
    page = (folder / "index.html").read_text()
    assert PERSON in page and page.count("This page holds personal data") == 2
    assert f"{CONDITION}: 18 true, 12 of them found, 0 found wrongly, 6 guessed" in page
    others = ("report.json", "results.csv", "results.md", "labels.csv")
    assert not [name for name in others if CONDITION in (folder / name).read_text()]


def test_pictures_of_a_published_data_set_need_no_word(tmp_path: Path, monkeypatch):
    folder = kept(tmp_path / "run", audit(personal=()))
    assert typed(monkeypatch, "report", str(folder)) == 0
    page = (folder / "index.html").read_text()
    assert (
        PERSON in page
        and CONDITION in page
        and "personal data" not in page.partition("<main>")[2].partition("Method")[0]
    )


def test_a_redacted_run_holds_no_picture_and_no_found_label_and_says_so(tmp_path: Path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", audit())
    typed(monkeypatch, "report", str(folder), "--include-private")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "a.json.1").write_text(PERSON)
    (folder / "damaged" / "folder").mkdir()
    (folder / "report.pdf").write_text(PERSON)
    (folder / f".index.html.1-{'0' * 16}.tmp").write_text(PERSON)  # of a writer that was killed
    (folder / ".pdf-x").mkdir()
    (folder / ".pdf-x" / "page.pdf").write_text(PERSON)
    before = {cell.key: cell.scores for cell in audit()[1]}
    assert (folder / "labels.csv").exists() and any(PERSON in text for text in texts(folder).values())
    assert typed(monkeypatch, "redact", str(folder)) == 0
    for name, text in texts(folder).items():
        assert PERSON not in text and "alice" not in text and CONDITION not in text, name
    store = Store(folder)
    cells = [store.read(key) for key in store.cell_keys()]
    assert [cell.scores for cell in cells] == [*before.values()] and len(cells) == 6
    assert "were taken out" in store.read_manifest().redacted
    assert (
        "Redacted: pictures, labels and the tracebacks of failed cells were taken out"
        in (folder / "index.html").read_text()
    )
    assert typed(monkeypatch, "redact", str(folder)) == 0  # twice is once


def test_a_traceback_that_quotes_what_was_private_goes_too(tmp_path: Path, monkeypatch):
    planned, cells = audit()
    cells[0] = Cell(cells[0].key, "failed", "Traceback\nValueError: the labels of alice are 3, 7")
    folder = kept(tmp_path / "run", (planned, cells))
    typed(monkeypatch, "report", str(folder))
    assert "alice" in (folder / "index.html").read_text()
    typed(monkeypatch, "redact", str(folder))
    assert not [name for name, text in texts(folder).items() if "alice" in text]


def test_a_file_among_the_cells_that_is_none_stops_a_redaction(tmp_path: Path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", audit())
    (folder / "cells" / "Copy of a cell.json").write_text(PERSON)
    assert typed(monkeypatch, "redact", str(folder)) == 2
    assert "Copy of a cell.json: found a file that is no cell" in " ".join(capsys.readouterr().err.split())
    assert not Store(folder).read_manifest().redacted


def test_a_redaction_that_breaks_off_claims_nothing(tmp_path: Path, monkeypatch):
    folder = kept(tmp_path / "run", audit())
    typed(monkeypatch, "report", str(folder), "--include-private")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("seethrough.reports.write_reports", full)
        assert typed(patch, "redact", str(folder)) == 1
    assert not Store(folder).read_manifest().redacted and PERSON in (folder / "index.html").read_text()
    assert typed(monkeypatch, "redact", str(folder)) == 0
    assert Store(folder).read_manifest().redacted and PERSON not in (folder / "index.html").read_text()


def test_what_a_redacted_run_computes_later_is_redacted_too(tmp_path: Path, monkeypatch):
    """The new cells had kept their pictures, and the page still said that there were none."""
    spec = {
        "name": "a",
        "trials": 1,
        "settings": [{"name": "s", "data": {"digits": 8}, "model": {"convnet": {"width": 4}}, "batch_size": 1}],
        "threats": [{"name": "server"}],
        "defenses": ["none"],
        "attacks": [{"inverting_gradients": {"steps": 1}}],
        "metrics": ["psnr"],
    }
    out = tmp_path / "out"
    seethrough.audit(spec, out, workers=1, quiet=True)
    assert typed(monkeypatch, "redact", str(out)) == 0
    results = seethrough.audit({**spec, "trials": 2}, out, workers=1, quiet=True)
    assert results.manifest.redacted and len(results.cells) == 2
    assert all(cell.pictures is None for cell in results.cells) and "data:image" not in results.page.read_text()
    assert Store(out).read_manifest().redacted


def test_a_run_with_a_damaged_cell_does_not_claim_to_be_redacted(tmp_path: Path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", audit())
    victim = sorted((folder / "cells").glob("*.json"))[0]
    victim.write_bytes(victim.read_bytes()[:-3])
    assert typed(monkeypatch, "redact", str(folder)) == 2
    assert "damaged" in capsys.readouterr().err and not Store(folder).read_manifest().redacted
    with pytest.raises(DamagedFileError):
        Store(folder).read(victim.stem)
