"""The table of docs/reliability.md, from what a campaign recorded.

python -m tests.reliability.figures            the tests that measure, for pytest
python -m tests.reliability.figures JUNIT...   writes the table; exit code 1 if a test failed
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import yaml

FIGURES, PAGE = Path(__file__).with_name("figures.yaml"), Path(__file__).parents[2] / "docs" / "reliability.md"
START, END = "<!-- what follows is written by `make campaign` -->\n", "<!-- end of what `make campaign` writes -->\n"


@dataclass(frozen=True)
class Figure:
    """One row: what is measured, what is to be reached, and by which tests."""

    figure: str
    goal: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """One test, as pytest reported it."""

    node: str
    outcome: str  # passed, failed or skipped
    n: int = 0
    measured: str = ""
    reason: str = ""

    @property
    def kind(self) -> str:
        """The same for the quick and the full budget of a test."""
        return re.sub(r"[\d-]+", "", self.node)


def figures() -> tuple[Figure, ...]:
    rows = yaml.safe_load(FIGURES.read_text())
    return tuple(Figure(row["figure"], row["goal"], tuple(row["tests"])) for row in rows)


def tried(report: Path) -> list[Tried]:
    return [_tried(case) for case in ElementTree.parse(report).iter("testcase")]


def _tried(case: ElementTree.Element) -> Tried:
    recorded = {each.get("name"): each.get("value", "") for each in case.iter("property")}
    node = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
    skipped = case.find("skipped")
    broken = case.find("failure") is not None or case.find("error") is not None
    outcome = "failed" if broken else "passed" if skipped is None else "skipped"
    reason = "" if skipped is None else skipped.get("message", "")
    return Tried(node, outcome, int(recorded.get("n", 0)), recorded.get("measured", ""), reason)


def table(found: list[Tried]) -> str:
    lines = ["| what | goal | measured | command: `pytest` and |", "|---|---|---|---|"]
    lines += [f"| {row.figure} | {row.goal} | {_measured(_of(row, found))} | {_commands(row)} |" for row in figures()]
    return "\n".join(lines) + "\n"


def _of(row: Figure, found: list[Tried]) -> list[Tried]:
    return [
        one
        for one in found
        if any(one.node == test or one.node.startswith((f"{test}:", f"{test}[")) for test in row.tests)
    ]


def _measured(found: list[Tried]) -> str:
    """What was recorded with the larger budget; then how many tests passed, and each that did not."""
    most: dict[str, int] = {}
    for one in found:
        most[one.kind] = max(one.n, most.get(one.kind, 0))
    said = [one.measured for one in found if one.measured and one.n == most[one.kind]]
    counts = [f"{sum(one.outcome == 'passed' for one in found)} of {len(found)} tests pass"]
    skipped = [f"skipped: {_name(one)} ({one.reason})" for one in found if one.outcome == "skipped"]
    failed = [f"**failed**: {_name(one)}" for one in found if one.outcome == "failed"]
    return "; ".join([*said, *counts, *skipped, *failed]) if found else "not measured"


def _name(one: Tried) -> str:
    return one.node.rpartition("::")[2].replace("_", " ")


def _commands(row: Figure) -> str:
    return "<br>".join(dict.fromkeys(f"`{test.partition('::')[0]}`" for test in row.tests))


def main(reports: list[str]) -> int:
    if not reports:
        print(*dict.fromkeys(test for row in figures() for test in row.tests))
        return 0
    found = [one for report in reports for one in tried(Path(report))]
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(f"{before}{START}\n{table(found)}\n{END}{rest.partition(END)[2]}")
    return int(any(one.outcome == "failed" for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
