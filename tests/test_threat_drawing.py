"""The threat model as a drawing: it shows what is granted and withheld, all of it in its box, and says it as text."""

import itertools
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from seethrough.audit.manifest import manifest_of
from seethrough.audit.specification.file import spec_from
from seethrough.audit.threat import SHORT, ThreatModel
from seethrough.reports.page import render_page
from seethrough.reports.parts.threat_drawing import Drawing, threat_drawing
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, place, score

LETTER = 7.4  # about the width of a letter of the drawing, in units of its view box


def drawn(
    threat: ThreatModel, sums: tuple[tuple[str, int], ...] = (), defenses: tuple[str, ...] = ("none",)
) -> Drawing:
    plan = replace(manifest([place()]), sights=(threat.sight(),), sums=sums)
    found = threat_drawing(plan, threat.name, defenses)
    assert found is not None
    return found


def lines(drawing: Drawing, style: str) -> list[str]:
    return [each.text for each in drawing.words if each.style == style]


@pytest.mark.parametrize("batchnorm", ["hidden", "running", "exact"])
@pytest.mark.parametrize("grants", [(), ("labels", "past"), tuple(SHORT)])
def test_all_that_is_granted_or_withheld_is_shown_in_its_box_and_said(grants, batchnorm):
    threat = ThreatModel(name="t", grants=grants, batchnorm=batchnorm)
    drawing, sight = drawn(threat, (("a", 4), ("b", 8)), ("none", "a", "b")), threat.sight()
    assert lines(drawing, "granted") == [f"✓ {each}" for each in sight.granted]
    assert lines(drawing, "withheld") == [f"✕ {each}" for each in sight.withheld]
    assert {SHORT[fact] for fact in grants} == set(sight.granted) & set(SHORT.values())
    assert len(sight.granted + sight.withheld) == len(SHORT) + 1
    assert all(each in drawing.alternative for each in (*sight.granted, *sight.withheld))
    boxes = [(box.y, box.y + box.height, box.right) for box in drawing.boxes]
    assert all(one[1] < other[0] for one, other in itertools.pairwise(boxes)) and boxes[-1][1] <= drawing.height
    for each in drawing.words:
        right = next((end for top, bottom, end in boxes if top < each.y < bottom), drawing.width)
        assert each.style == "model" or each.x + LETTER * len(each.text) <= right + 2, each
    taken = [(each.x, each.y) for each in drawing.words]
    assert len(set(taken)) == len(taken)


@pytest.mark.parametrize(
    ("sums", "boxes", "read"),
    [
        ((), ["clients", "server"], "reads each update"),
        ((("a", 4),), ["clients", "sum", "server"], "reads sums alone"),
        ((("elsewhere", 4),), ["clients", "server"], "reads each update"),
    ],
)
def test_secure_aggregation_stands_between_where_a_defense_has_it(sums, boxes, read):
    drawing = drawn(ThreatModel(name="t"), sums, ("a",))
    assert [box.style for box in drawing.boxes] == boxes and read in lines(drawing, "muted")


def test_where_some_defenses_have_it_both_are_said():
    drawing = drawn(ThreatModel(name="t"), (("a", 4), ("b", 8)), ("none", "a", "b"))
    assert "adds up the updates of 4 or 8 clients" in lines(drawing, "muted")
    assert "reads sums, or each update" in lines(drawing, "muted")


def test_a_spec_says_what_is_drawn_and_the_page_shows_it():
    summed = [{"clipping": {"max_norm": 1.0}}, {"secure_aggregation": {"clients": 4}}]
    spec = spec_from(
        {
            "name": "a",
            "trials": 1,
            "settings": [{"name": "setting", "data": "digits", "model": "convnet", "batch_size": 2}],
            "threats": [{"name": "<b>threat</b>", "grants": ["count"]}],
            "defenses": ["none", summed],
            "attacks": ["label_sign"],
            "metrics": ["label_accuracy"],
        }
    )
    at = place(threat="<b>threat</b>", defense="none")
    plan = manifest_of(spec, (at,), (), torch.device("cpu"), 1)
    assert plan.sums == (("clipping(max_norm=1.0) + secure_aggregation(clients=4)", 4),)
    page = render_page(read_report(plan, [measured(at, score(0.5, metric="label_accuracy"))]))
    sketch = page[page.index('<svg class="sketch"') :]
    root = ElementTree.fromstring(sketch[: sketch.index("</svg>") + 6])
    assert root.get("role") == "img" and "It may also use: number of examples" in (root.get("aria-label") or "")
    assert "✓ number of examples" in [each.text for each in root.iter("text")]


def test_an_audit_that_does_not_say_what_is_granted_has_no_drawing():
    assert threat_drawing(manifest([place()]), "threat", ("none",)) is None
