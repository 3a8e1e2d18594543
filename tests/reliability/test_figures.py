"""The table of a campaign: what was recorded with the larger budget, and every test that did not pass."""

from pathlib import Path

from tests.reliability.figures import Tried, figures, table

KILLS = "tests/reliability/test_kill.py::test_kills"


def test_the_larger_budget_is_told_and_what_failed_or_was_skipped():
    found = [
        Tried(f"{KILLS}[10-1]", "passed", 10, "10 kills"),
        Tried(f"{KILLS}[500-1]", "passed", 500, "500 kills"),
        Tried("tests/reliability/test_power_loss.py::test_a_cut", "failed"),
        Tried("tests/reliability/test_disks.py::test_a_full_disk", "skipped", reason="needs the right to mount"),
    ]
    rows = {line.split(" | ")[0].strip("| "): line for line in table(found).splitlines()}
    assert "500 kills; 2 of 2 tests pass" in rows["Random kills of the whole run"]
    assert "0 of 1 tests pass; **failed**: test a cut" in rows["Power loss"]
    assert "skipped: test a full disk (needs the right to mount)" in rows["A failing call, at every call"]
    assert "| not measured |" in rows["State machine"]


def test_every_test_that_is_to_measure_is_there():
    root = Path(__file__).parents[2]
    for test in (test for row in figures() for test in row.tests):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (root / file).read_text() if name else (root / file).is_file(), test
