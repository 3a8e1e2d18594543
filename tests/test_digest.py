"""report.json: it says what the page says, keeps its schema, and no name breaks it."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as some

from seethrough.reports import Claim
from seethrough.reports.digest import Digest, digest_of, digest_schema, id_of, report_json
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, place, png, score, with_text

SCHEMA = Path(__file__).parent.parent / "docs" / "report.schema.json"


def audit(noise: float = 0.0) -> tuple:
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(6)]
    values = {"none": 0.8, "noise": noise}
    return manifest(places), [measured(at, score(values[at.defense] + at.trial / 100)) for at in places]


def test_the_schema_is_the_one_that_the_documents_keep():
    """Another one: `seethrough schema report > docs/report.schema.json`; and a higher VERSION, unless a field was added."""
    assert json.loads(SCHEMA.read_text()) == digest_schema()


def test_it_reads_back_to_what_the_report_says():
    report = read_report(*audit())
    digest = Digest.model_validate_json(report_json(report))
    assert digest == digest_of(report)
    assert digest.headline == report.verdict.headline and digest.cells == {"ok": 12}
    found = digest.findings[id_of("setting", "threat", "none", "attack", "ssim")]
    assert found == report.blocks[0].of("none")[0] and found.standing == "leaks"
    assert digest.defenses[id_of("setting", "threat", "noise")].fate == "held"


def test_an_id_does_not_hang_on_the_numbers_nor_on_how_names_are_cut():
    assert digest_of(read_report(*audit())).findings.keys() == digest_of(read_report(*audit(0.7))).findings.keys()
    assert id_of("a", "b c") != id_of("a b", "c")


def test_an_infinite_epsilon_is_text_and_comes_back():
    planned, cells = audit()
    cells[0] = replace(cells[0], claim=Claim(math.inf, 1e-5, "no noise at all"))
    text = report_json(read_report(planned, cells))
    assert "Infinity" in text and json.loads(text, parse_constant=lambda name: 1 / 0)
    assert Digest.model_validate_json(text).promises[0].claims[0].epsilon == math.inf


@given(names=some.lists(some.text(max_size=20), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_no_name_breaks_it(names: list[str]):
    numbers, chosen = itertools.count(), itertools.cycle([*names, "\ud800", "\x1b[2J", "</script>"])
    text = report_json(read_report(*with_text(lambda: f"{next(chosen)}{next(numbers)}", png())))
    assert text.isascii() and "\x1b" not in text and json.loads(text)
