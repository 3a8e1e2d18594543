import csv
import io
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from seethrough.reports import Cell, Guess, Recovery, Score, write_reports
from seethrough.reports.csv_tables import COLUMNS, results_csv
from seethrough.reports.findings.grid import read_blocks, read_grid
from seethrough.reports.findings.intervals import finite
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, place, png, score, with_text

FLOATS = some.floats() | some.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1e-320, 2.0**53 + 1, 1e308])
TEXTS = some.text(max_size=40) | some.sampled_from(
    ["", "=cmd", "-1", "\t@x", "😀", "<b>|*`", "a\nb", "a\r\nb", '"', "\x00", "‮", "--", "]("]
)
SCORES = some.builds(
    Score,
    metric=some.sampled_from(["psnr", "label_accuracy", "<i>"]),
    better=some.sampled_from(["higher", "lower"]),
    status=some.sampled_from(["ok", "ok", "ok", "n/a", "failed", "unavailable", "nan"]),
    note=TEXTS,
    **{name: some.none() | FLOATS for name in ("value", "worst", "decoy", "perfect")},
    guesses=some.lists(some.builds(Guess, some.sampled_from(["a", "b"]), FLOATS), max_size=2).map(tuple),
    **{name: some.lists(FLOATS, max_size=3).map(tuple) for name in ("swapped", "perfect_swapped")},
    share=some.booleans(),
    n=some.integers(0, 2**40),
)


def parsed(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def rows_of(plan, cells):
    return parsed(results_csv(read_grid(plan, cells)))


def markdown(tmp_path, plan, cells):
    write_reports(tmp_path, plan, cells)
    return (tmp_path / "results.md").read_text(encoding="utf-8")


def bits(value):
    return struct.pack("d", value)


def test_the_columns_are_the_promised_ones():
    assert ", ".join(COLUMNS) == (
        "setting, threat, defense, attack, trial, metric, value, floor, guesser, decoy, chance, worst, better, status, note, "
        "n, seconds, seed, key, code, recovered, images, kappa, bound"
    )


def test_recovered_images_stand_beside_their_limits_in_full_precision():
    one = Recovery(20.0, 1, 4, 4, 3, 700, 1 / 3, 0.1 + 0.2, "by hand")
    places = [place(0), place(1)]
    unbounded = replace(one, bound=None)
    cells = [measured(places[0], score(0.5), recovery=one), measured(places[1], score(0.5), recovery=unbounded)]
    first, second = rows_of(manifest(places), cells)
    names = ("recovered", "images", "kappa", "bound")
    assert [first[name] for name in names] == ["1", "4", repr(1 / 3), repr(0.1 + 0.2)]
    assert [second[name] for name in names] == ["1", "4", repr(1 / 3), ""]


def test_a_measured_number_is_one_row_in_full_precision():
    at = place(3)
    number = score(0.1 + 0.2, 1 / 3, decoy=math.inf, swapped=(0.25, 0.5), worst=math.nan, note="fine")
    (row,) = rows_of(manifest([at]), [measured(at, number, seconds=1.5, seed=7, code="abc")])
    assert row == {
        "setting": "setting",
        "threat": "threat",
        "defense": "none",
        "attack": "attack",
        "trial": "3",
        "metric": "ssim",
        "value": "0.30000000000000004",
        "floor": "0.3333333333333333",
        "guesser": "a guesser",
        "decoy": "inf",
        "chance": "0.375",
        "worst": "nan",
        "better": "higher",
        "status": "ok",
        "note": "fine",
        "n": "4",
        "seconds": "1.5",
        "seed": "7",
        "key": at.key,
        "code": "abc",
        "recovered": "",
        "images": "",
        "kappa": "",
        "bound": "",
    }


def test_every_planned_number_has_its_row_whatever_became_of_it():
    at = [place(trial) for trial in range(4)]
    cells = [
        measured(at[0], score(0.5), score(None, metric="lpips", status="unavailable", note="no weights")),
        measured(at[1], status="failed", note='Traceback (most recent call last):\n  File "x"\nValueError: boom\n'),
        measured(at[2], status="n/a", note="not possible"),
    ]
    rows = rows_of(manifest(at, ["ssim", "lpips"]), cells)
    assert [(row["trial"], row["metric"], row["status"], row["note"]) for row in rows] == [
        ("0", "ssim", "ok", ""),
        ("0", "lpips", "unavailable", "no weights"),
        ("1", "ssim", "failed", "ValueError: boom"),
        ("1", "lpips", "failed", "ValueError: boom"),
        ("2", "ssim", "n/a", "not possible"),
        ("2", "lpips", "n/a", "not possible"),
        ("3", "ssim", "missing", "not computed yet"),
        ("3", "lpips", "missing", "not computed yet"),
    ]
    assert [row["value"] for row in rows] == ["0.5", *[""] * 7]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n", " =", "\uff1d"])
def test_text_that_a_spreadsheet_would_run_is_neutralized(start):
    def text():
        return f"{start}cmd|'/c calc'!A1"

    for row in rows_of(*with_text(text, png())):
        for name in ("setting", "threat", "defense", "attack", "metric", "key"):
            assert row[name] == f"'{text()}"
        assert not row["note"].lstrip(" ").startswith(start.strip(" ")), row["note"]


def test_negative_numbers_stay_numbers():
    at = place()
    (row,) = rows_of(manifest([at]), [measured(at, score(-0.5, -2.5))])
    assert (row["value"], row["floor"]) == ("-0.5", "-2.5")


def test_the_markdown_shows_mean_interval_floor_and_n(tmp_path):
    at = [place(trial) for trial in range(6)]
    cells = [measured(each, score(0.7 + 0.1 * (each.trial % 3), 0.1)) for each in at]
    text = markdown(tmp_path, manifest(at), cells)
    assert (
        "| attack | 0.800 [0.685, 0.915], floor 0.100 (a guesser), leak +0.700 [+0.585, +0.815], by chance 0.100, n = 6: "
        "leaks (against other batches p = 0.0001; against a guesser p = 0.0157) |"
    ) in text


def test_a_p_value_that_is_too_small_to_print_is_below_what_is_printed(tmp_path):
    at = [place(trial) for trial in range(20)]
    text = markdown(tmp_path, manifest(at), [measured(each, score(0.9, 0.1)) for each in at])
    assert "against a guesser p &lt; 0.0001)" in text


def test_the_markdown_shows_what_came_from_the_update_beside_the_leak(tmp_path):
    at = [place(trial) for trial in range(2)]
    cells = [measured(each, score(12.0 + each.trial, 11.0, decoy=8.0)) for each in at]
    text = markdown(tmp_path, manifest(at), cells).replace("\N{MINUS SIGN}", "-")
    assert "leak +1.50 (+1.00 to +2.00), by chance 11.00, over the decoy +4.50 (+4.00 to +5.00), n = 2" in text


def test_the_markdown_shows_the_state_of_what_has_no_number(tmp_path):
    at = [place(trial) for trial in range(2)]
    text = markdown(tmp_path, manifest(at), [measured(at[0], status="failed", note="T\nValueError: boom")])
    assert "| attack | 1 failed, 1 missing: ValueError: boom |" in text


def test_foreign_text_cannot_break_the_tables_of_the_markdown(tmp_path):
    count = iter(range(1_000))
    plain = markdown(tmp_path, *with_text(lambda: f"word {next(count)}", png()))
    count = iter(range(1_000))
    hostile = markdown(tmp_path, *with_text(lambda: f"|<script>[x](javascript:1)\n\n# h\n|a {next(count)}", png()))
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert hostile.replace("\\|", "").count("|") == plain.count("|")
    assert "<script" not in hostile
    assert "](" not in hostile


@settings(max_examples=150, deadline=None)
@given(some.lists(some.tuples(some.sampled_from(["ok", "ok", "failed", "n/a"]), some.lists(SCORES, max_size=3), TEXTS)))
def test_any_row_keeps_its_number_and_no_other_number_enters_a_mean(drawn):
    at = [place(trial) for trial in range(len(drawn))]
    cells = [
        Cell(each.key, status, note, tuple(scores)) for each, (status, scores, note) in zip(at, drawn, strict=True)
    ]
    readings = read_grid(manifest(at, ["psnr", "label_accuracy"]), cells)
    rows = parsed(results_csv(readings))
    assert len(rows) == len(readings)
    for row, reading in zip(rows, readings, strict=True):
        if reading.score is not None and reading.score.value is not None:
            assert math.isnan(reading.score.value) or bits(float(row["value"])) == bits(reading.score.value)
            assert math.isnan(reading.score.value) == (row["value"] == "nan")
        else:
            assert row["value"] == ""
        assert row["status"] != "ok" or finite(float(row["value"]))
    for block in read_blocks(readings):
        for finding in block.findings:
            usable = [row for row in rows if (row["metric"], row["status"]) == (finding.metric, "ok")]
            assert (finding.value.n if finding.value else 0) == len(usable)


@settings(max_examples=60, deadline=None)
@given(some.lists(some.tuples(SCORES, TEXTS, TEXTS), max_size=12))
def test_any_rows_make_a_report(tmp_path_factory, drawn):
    at = [place(index, attack=name, defense="none" if index % 2 else "x") for index, (_, name, _) in enumerate(drawn)]
    cells = [measured(each, made, code=code) for each, (made, _, code) in zip(at, drawn, strict=True)]
    directory = tmp_path_factory.mktemp("report")
    write_reports(directory, manifest(at, ["psnr"]), cells)
    assert len(parsed((directory / "results.csv").read_bytes().decode())) == len(
        read_grid(manifest(at, ["psnr"]), cells)
    )


def test_the_guesser_of_the_csv_is_that_of_the_page(tmp_path):
    """One infinite score had given the table another guesser than the page and report.json."""
    places = [place(trial) for trial in range(7)]
    guesses = (Guess("often", 0.2), Guess("once", 0.1))
    cells = [measured(at, score(0.8 + at.trial / 100, guesses=guesses)) for at in places[:6]]
    cells.append(measured(places[6], score(math.inf, guesses=(Guess("often", 0.0), Guess("once", 90.0)))))
    report = read_report(manifest(places), cells)
    (finding,) = report.blocks[0].findings
    text = results_csv(report.readings)
    assert finding.guesser == "often"
    assert {row["guesser"] for row in csv.DictReader(io.StringIO(text)) if row["status"] == "ok"} == {"often"}
