"""The mapping to laws and guidelines: it points to what is there, and claims nothing."""

import re

from seethrough.reports import write_reports
from seethrough.reports.standards import standards
from tests.reports_samples import manifest, measured, place, score


def test_each_point_leads_to_a_section_of_the_page(tmp_path):
    places = [place(trial) for trial in range(6)]
    write_reports(tmp_path, manifest(places), [measured(at, score(0.8)) for at in places])
    page = (tmp_path / "index.html").read_text()
    for each in standards():
        assert f'<section id="{each.section}"' in page, each
        assert each.document in page


def test_nothing_is_called_compliant():
    said = " ".join(f"{each.point} {each.supports}" for each in standards())
    assert not re.search(r"\bcompl(y|ies|iant|iance)\b|\bcertif", said)
