"""The mapping to laws and guidelines: it points to what is there, and claims nothing; users add points of their own."""

import re
from pathlib import Path

import pytest

from seethrough.audit.cli import main
from seethrough.audit.standards import load_standards
from seethrough.common.errors import InputError
from seethrough.reports import write_reports
from seethrough.reports.standards import Anchor, standards
from tests.reports_samples import kept, manifest, measured, place, score

POINT = "{document: House rule 7, point: what we ask, supports: The <b>verdict</b>., section: verdict}"


def audit():
    places = [place(trial) for trial in range(6)]
    return manifest(places), [measured(at, score(0.8)) for at in places]


def typed(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["seethrough", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code or 0


def test_each_point_leads_to_a_section_of_the_page(tmp_path):
    write_reports(tmp_path, *audit())
    page = (tmp_path / "index.html").read_text()
    for each in standards():
        assert each.document in page
    for anchor in Anchor.__args__:  # those that a user's file may name, too
        assert f'<section id="{anchor}"' in page, anchor


def test_nothing_is_called_compliant():
    said = " ".join(f"{each.point} {each.supports}" for each in standards())
    assert not re.search(r"\bcompl(y|ies|iant|iance)\b|\bcertif", said)


def test_de_identification_has_its_point():
    (found,) = [each for each in standards() if each.document.startswith("ISO/IEC 27559:2022")]
    assert "8.2.3 (adversarial testing)" in found.document and "not of a data set" in found.supports


def test_points_of_a_users_file_stand_apart_on_the_page(tmp_path: Path, monkeypatch):
    folder, file = kept(tmp_path / "run", audit()), tmp_path / "house.yaml"
    file.write_text(f"- {POINT}\n")
    assert typed(monkeypatch, "report", str(folder), "--standards", str(file)) == 0
    page = (folder / "index.html").read_text()
    added = page.partition("Added by who made this report")[2].partition("</section>")[0]
    assert "House rule 7" in added and "The &lt;b&gt;verdict&lt;/b&gt;." in added and 'href="#verdict"' in added
    assert standards()[0].document in page.partition("Added by")[0]
    assert typed(monkeypatch, "report", str(folder)) == 0
    assert "Added by who made this report" not in (folder / "index.html").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "line 1, the whole of it: found []; allowed: a list of at least 1 item"),
        ("a: 1", 'found {"a": 1}; allowed: a list'),
        (
            f"- {POINT}\n- 7",
            "line 2, [1]: found 7; allowed: a mapping with the keys document, point, supports, section",
        ),
        (f"- {POINT.replace('verdict}', 'vredict}')}", "[0].section: found \"vredict\"; allowed: 'verdict', 'glance'"),
        (f"- {POINT.replace('what we ask', '7')}", "[0].point: found 7; allowed: text"),
        (f"- {POINT.replace('point: what we ask, ', '')}", "[0].point: found nothing; allowed: a value"),
        (f"- {POINT.replace('}', ', law: 1}')}", "(unknown: law)"),
        ("- &a {}\n- *a", "house.yaml"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(text: str, words: str, tmp_path: Path):
    (tmp_path / "house.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        load_standards(tmp_path / "house.yaml")
    assert words in str(refused.value) and "house.yaml" in str(refused.value) and "\n" not in str(refused.value)


def test_a_run_is_not_begun_with_a_file_that_is_wrong(tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert typed(monkeypatch, "run", "--out", str(out), "--standards", str(tmp_path / "no.yaml")) == 2
    assert "no.yaml; allowed: a YAML file that exists" in " ".join(capsys.readouterr().err.split()) and not out.exists()
