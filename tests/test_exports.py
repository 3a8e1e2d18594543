"""Further documents of a report: they can be read by what they are made for, whatever the names are."""

import csv
import io
import itertools
import math
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from seethrough.audit.cli import main
from seethrough.common.errors import InputError
from seethrough.reports.csv_tables import COLUMNS, results_csv
from seethrough.reports.exports import parquet, pdf, write_export
from seethrough.reports.exports.junit import junit_xml
from seethrough.reports.exports.latex import latex_tables
from seethrough.reports.exports.parquet import REAL, WHOLE, results_parquet
from seethrough.reports.report import read_report
from tests.reports_samples import kept, manifest, measured, place, png, score, with_text

LEAK, FLOOR = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05)
AWKWARD = ["a_b & c%", "<x>", "\x1b[2J", "\\input{/etc/passwd}", "$x^2~{#}", "\ud800"]


def audit(**columns: tuple[float, ...]):
    places = [place(trial, defense=defense) for defense, values in columns.items() for trial in range(len(values))]
    values = [value for column in columns.values() for value in column]
    return manifest(places), [measured(at, score(value)) for at, value in zip(places, values, strict=True)]


def awkward():
    numbers, names = itertools.count(), itertools.cycle(AWKWARD)
    return read_report(*with_text(lambda: f"{next(names)} {next(numbers)}", png()))


def test_junit_fails_what_leaks_and_skips_what_is_not_shown():
    root = ElementTree.fromstring(junit_xml(read_report(*audit(none=LEAK, bad=LEAK, good=FLOOR, few=(0.9,)))))
    controls, suite = root
    assert controls.get("failures") == "0"
    assert suite.attrib | {"name": ""} == {"tests": "3", "failures": "1", "skipped": "1", "errors": "0", "name": ""}
    assert {case.get("name"): case[0].tag for case in suite} == {
        "bad": "failure",
        "good": "system-out",
        "few": "skipped",
    }


def test_names_break_neither_xml_nor_latex():
    assert len(ElementTree.fromstring(junit_xml(awkward())))
    text = latex_tables(awkward())
    assert "\x1b" not in text and "\\input{" not in re.sub(r"%.*", "", text)
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 6, line


def test_parquet_holds_the_rows_of_the_csv_with_their_types():
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as reader

    planned, cells = audit(none=LEAK, noise=(*FLOOR[:-1], math.nan))
    report = read_report(planned, [*cells[:-2], replace(cells[-1], seed=2**63 - 1)])  # one is missing, one is no number
    table = reader.read_table(io.BytesIO(results_parquet(report)))
    rows = list(csv.DictReader(io.StringIO(results_csv(report.readings))))
    assert table.column_names == list(COLUMNS) and table.num_rows == len(rows) == 12
    assert {str(table.schema.field(name).type) for name in WHOLE} == {"int64"}
    assert {str(table.schema.field(name).type) for name in REAL} == {"double"}
    for row, known in zip(table.to_pylist(), rows, strict=True):
        assert {name: "" if each is None else str(each) for name, each in row.items()} == known
    assert [row["status"] for row in rows].count("missing") == 1 and table.column("value").null_count == 1
    assert pyarrow.compute.max(table.column("seed")).as_py() == 2**63 - 1


def test_parquet_has_the_same_bytes_again_and_takes_all_names(tmp_path: Path):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet as reader

    written = [write_export(tmp_path, awkward(), "parquet") for _ in range(2)]
    report = awkward()
    assert written[0].name == "results.parquet" and results_parquet(report) == results_parquet(report)
    assert reader.read_table(written[0]).num_rows == len(report.readings)
    empty = read_report(manifest([]), [])
    assert reader.read_table(io.BytesIO(results_parquet(empty))).num_rows == 0


def test_where_no_pyarrow_is_installed_one_sentence_says_what_would_help(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"^parquet: found no pyarrow; allowed: .*`pip install .seethrough\[parquet\].`"
    ):
        write_export(tmp_path, read_report(*audit(none=LEAK)), "parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX is installed")
def test_latex_takes_the_tables(tmp_path: Path):
    body = latex_tables(awkward())
    (tmp_path / "t.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{array,booktabs}}\begin{{document}}{body}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_they_are_made_when_they_are_asked_for(tmp_path: Path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", audit(none=LEAK, noise=FLOOR))
    monkeypatch.setattr("sys.argv", ["seethrough", "report", str(folder), "--also", "tex", "--also", "junit"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert (folder / "report.tex").read_text().count("tabular") == 4
    assert (folder / "junit.xml").exists() and not (folder / "report.pdf").exists()


def test_where_nothing_prints_a_pdf_one_sentence_says_what_would(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        InputError, match=r"pdf: found neither WeasyPrint nor a Chromium; allowed: .*`pip install .seethrough\[pdf\].`"
    ):
        write_export(tmp_path, read_report(*audit(none=LEAK)), "pdf")
    assert list(tmp_path.iterdir()) == []


def test_junit_counts_cells_that_failed_as_errors_and_names_them():
    planned, cells = audit(none=LEAK, noise=FLOOR)
    cells[-2:] = [replace(each, status="failed", scores=(), note="Traceback\nit broke") for each in cells[-2:]]
    root = ElementTree.fromstring(junit_xml(read_report(planned, cells)))
    failed = root[-1]
    assert (failed.get("name"), failed.get("tests"), failed.get("errors")) == ("cells that failed", "2", "2")
    assert [case.get("name") for case in failed] == [f"attack through noise, trial {trial}" for trial in (4, 5)]
    assert {case[0].get("message") for case in failed.iter("testcase")} == {"it broke"}


def test_junit_skips_a_control_that_was_not_run():
    """One that was never run had counted as passed."""
    for columns, lacking in (
        ({"none": LEAK, "random_update": FLOOR}, []),
        ({"none": LEAK}, ["negative control"]),
        ({"random_update": FLOOR}, ["positive control"]),
    ):
        controls = ElementTree.fromstring(junit_xml(read_report(*audit(noise=FLOOR, **columns))))[0]
        skipped = {case.get("name"): case[0].get("message", "") for case in controls if len(case)}
        assert [*skipped] == lacking and controls.get("skipped") == str(len(lacking))
        assert all(words.startswith(f"No {name}: ") for name, words in skipped.items())


def test_latex_says_what_it_needs_and_wraps_every_column():
    """Seven columns that did not wrap were wider than a page."""
    text = latex_tables(read_report(*audit(none=LEAK, noise=FLOOR)))
    assert text.startswith("% These tables need \\usepackage{booktabs} and \\usepackage{array}")
    for columns in re.findall(r"\\begin\{tabular\}\{(.*)\}", text):
        widths = [float(width) for width in re.findall(r"p\{([\d.]+)\\linewidth\}", columns)]
        assert len(widths) == 7 and sum(widths) <= 0.92 and re.search(r"(?<![a-z])[lcr](?![a-z])", columns) is None


def test_a_pdf_has_the_bytes_of_its_page_and_no_date_of_its_own(tmp_path: Path):
    text = b"/CreationDate (D:20261130104412+02'00')\n/ModDate (D:20261130104412Z)\nstream D:2026 endstream"
    (tmp_path / "a.pdf").write_bytes(text)
    pdf.pin_dates(tmp_path / "a.pdf")
    pinned = (tmp_path / "a.pdf").read_bytes()
    assert pinned.startswith(b"/CreationDate (D:19700101000000+00'00')\n/ModDate (D:19700101000000Z)\nstream D:2026")
    assert len(pinned) == len(text)


@pytest.mark.skipif(not any(map(shutil.which, pdf.BROWSERS)), reason="no Chromium is installed")
def test_a_pdf_that_is_printed_again_is_the_same(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "index.html").write_text("<title>a page</title><h1>words</h1>")
    printed = []
    for _ in range(2):
        printed.append(pdf.print_page(tmp_path / "index.html", tmp_path / "report.pdf").read_bytes())
        time.sleep(1.1)  # dates are to the second
    assert printed[0] == printed[1] and b"19700101" in printed[0]


def test_junit_fails_where_a_control_does():
    (controls, _) = ElementTree.fromstring(junit_xml(read_report(*audit(none=FLOOR, noise=FLOOR))))
    assert controls.get("failures") == "1" and "positive control fails" in controls[0][0].get("message", "")
