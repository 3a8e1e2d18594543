import base64
import math
import os
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from seethrough.common.files import write_text_atomically
from seethrough.reports import Claim, Pictures, Recovery, write_reports
from seethrough.reports.page import render_page
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, place, png, score, with_text

CORES = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "</pre></details></section><iframe src=//evil.example>",
    "<svg/onload=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    " onclick=alert(1) ",
    "`onload=alert(1)`",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)//",
    "data:text/html,<script>alert(1)</script>",
    "<a href='javascript:alert(1)'>x</a>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<form action=http://evil.example><input name=x>",
    "<!--",
    "-->",
    "<![CDATA[",
    "{{ 7 * 7 }}{% raw %}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "&lt;script&gt;&#x3c;img src=x&#x3e;",
    "\u202eevil\u202c\u2066",
    "\x00<scr\x00ipt>\x08",
    "@import url(http://evil.example);}*{background:url(http://evil.example)}",
    "../../../../etc/passwd",
    "<math><mtext></table><mglyph><style><img src=x onerror=alert(1)>",
    "jaVasCript:/*-/*`/*\\`/*'/*\"/**/(/* */oNcliCk=alert() )//%0D%0A//</stYle/</titLe/</teXtarEa/</scRipt/--!>"
    "\\x3csVg/<sVg/oNloAd=alert()//>\\x3e",
]
FRAMES = [
    "{}",
    " {} ",
    "{0}{0}",
    "a{}b",
    "\n{}",
    "{}\\",
    "<{}",
    "{}>",
    '"{}"',
    "'{}'",
    "={}",
    "&{};",
    "\u00e9{}\U0001f600",
    "({})",
    "<!--{}-->",
    "%{}",
]
PAYLOADS = [
    frame.format(core) if "{" not in core else frame.replace("{0}", "{}").replace("{}", core)
    for core in CORES
    for frame in FRAMES
]


class Page(HTMLParser):
    """All elements, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag != "wbr":  # where a name may be cut, which is up to the name
            self.elements.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(directory, plan, cells, include_private=False):
    write_reports(directory, plan, cells, include_private)
    return (directory / "index.html").read_text(encoding="utf-8")


def numbered(frame):
    """Texts that hold `frame` and differ, so that the audit keeps its shape whatever the frame is."""
    count = iter(range(1_000))
    return lambda: f"{frame} {next(count)}"


def assert_inert(page):
    forbidden = {"script", "iframe", "object", "embed", "link", "base", "form", "input", "foreignobject"}
    assert not forbidden & set(page.elements)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("srcset", "action", "formaction", "xlink:href", "background", "style"), (tag, name)
        assert name != "href" or re.fullmatch(r"#[a-z0-9-]+", value), value
        assert name != "src" or value.startswith("data:image/png;base64,"), value


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return Page(page_of(tmp_path_factory.mktemp("plain"), *with_text(numbered("word"), png())))


def test_no_text_in_any_sink_changes_the_page_but_for_its_text(harmless):
    assert len(PAYLOADS) > 500
    names = Counter((tag, name) for tag, name, _ in harmless.attributes)
    for payload in PAYLOADS:
        page = Page(render_page(read_report(*with_text(numbered(payload), png()))))
        assert page.elements == harmless.elements, payload
        assert Counter((tag, name) for tag, name, _ in page.attributes) == names, payload
        assert_inert(page)


def test_the_page_is_self_contained(tmp_path, harmless):
    assert_inert(harmless)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in harmless.attributes
    text = page_of(tmp_path, *with_text(numbered("word"), png()))
    for remote in ("http:", "https:", "url(", "@import", "<script"):
        assert remote not in text.lower(), remote


def test_every_text_of_the_audit_is_on_the_page(harmless):
    plan, cells = with_text(numbered("word"), png())
    wanted = set(re.findall(r"word \d+", repr((plan, cells))))
    assert len(wanted) > 40
    assert wanted - set(re.findall(r"word \d+", harmless.text)) == set()


@pytest.mark.parametrize(
    "bad",
    [
        *('" onerror="alert(1)', "javascript:alert(1)", "\u00e9", "", f'{png()}" onerror="alert(1)'),
        base64.b64encode(b"<svg onload=alert(1)>").decode(),
    ],
)
def test_a_picture_that_is_no_png_is_not_embedded(tmp_path, bad):
    at = place()
    page = Page(page_of(tmp_path, manifest([at]), [measured(at, pictures=Pictures((bad,), (bad,), (png(),)))]))
    assert_inert(page)
    assert page.elements.count("img") == 1


def test_pictures_stand_side_by_side_for_the_first_trial_that_has_them(tmp_path):
    at = [place(trial) for trial in range(3)]
    shown = Pictures((png(1), png(2)), (png(3), png(4)), (png(5),))
    cells = [measured(at[0]), measured(at[2], pictures=Pictures((png(9),), (), ())), measured(at[1], pictures=shown)]
    page = Page(page_of(tmp_path, replace(manifest(at), personal=("setting",)), cells, include_private=True))
    sources = [value.removeprefix("data:image/png;base64,") for tag, name, value in page.attributes if name == "src"]
    assert sources == [png(1), png(3), png(5), png(2), png(4)]  # the second example has no decoy
    described = [value for tag, name, value in page.attributes if name == "alt"]
    assert described[:3] == ["original 1", "found 1", "decoy 1"]
    assert "This page holds personal data: private images and what was recovered of them." in page.text
    assert "trial 1" in page.text


def test_the_page_shows_numbers_states_claims_and_how_to_repeat_it(tmp_path):
    at = [place(trial, defense=defense) for defense in ("none", "dp") for trial in range(6)]
    cells = [
        measured(each, score(0.7 + 0.1 * (each.trial % 3), 0.1, worst=0.95), claim=Claim(2.5, 1e-5, "as stated"))
        for each in at[:8]
    ]
    cells += [
        measured(at[8], status="failed", note="Traceback\nValueError: boom"),
        measured(at[9], status="n/a", note="no"),
    ]
    text = Page(page_of(tmp_path, manifest(at), cells)).text
    for words in (
        *("0.800", "[0.685, 0.915]", "floor 0.100, a guesser", "over it +0.700 [+0.585, +0.815]", "worst 0.950"),
        *(
            "n 6 of 6",
            "median 0.800",
            "by chance 0.100",
            "against other batches p = 0.0001",
            "Blind guessers: a guesser",
        ),
        *("▲ leaks", "Undefended updates leak private data", "Failure to reconstruct is not proof of safety"),
        *(
            "2.500 1e-05 as stated",
            "Traceback ValueError: boom",
            "2 of 6, 1 failed, 1 n/a",
            "1 failed, 2 missing, 1 n/a, 8 ok",
        ),
        *("python 3", "data 00", "name: an audit", "about threat", "about none", "Intervals: the wider of Student t"),
    ):
        assert words in text, words


def test_a_defense_without_a_claim_says_that_it_claims_no_bound(tmp_path):
    assert "claims no bound" in Page(page_of(tmp_path, manifest([place()]), [measured(place())])).text


def test_an_infinite_epsilon_is_shown_as_such(tmp_path):
    cell = measured(place(), claim=Claim(math.inf, 0.0, "none at all"))
    assert "∞ 0 none at all" in Page(page_of(tmp_path, manifest([place()]), [cell])).text


def test_the_same_rows_give_the_same_bytes_in_any_order(tmp_path):
    plan, cells = with_text(numbered("word"), png())
    for directory, order in ((tmp_path / "a", cells), (tmp_path / "b", cells[::-1])):
        write_reports(directory, plan, order)
    for name in ("report.json", "results.csv", "results.md", "index.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_audit_without_any_cell_still_makes_a_report(tmp_path):
    text = Page(page_of(tmp_path, manifest([place(trial) for trial in range(3)]), [])).text
    assert "3 of 3 cells not computed yet" in text
    assert "0 of 3 cells measured, 3 not computed yet" in text


def test_a_report_leaves_nothing_but_its_files(tmp_path):
    write_reports(tmp_path / "new" / "folder", *with_text(numbered("../x"), png()))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "index.html",
        "report.json",
        "results.csv",
        "results.md",
        "utility.csv",
    ]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_text_atomically(path, "old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_text_atomically(path, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_metric_without_any_number_is_folded_away_with_its_reason(tmp_path):
    lacking = score(None, metric="lpips", status="unavailable", note="no weights here")
    text = Page(page_of(tmp_path, manifest([place()], ["lpips"]), [measured(place(), lacking)])).text
    assert "No cell has a number" in text
    assert "⊘ unavailable no weights here" in text


def test_the_directions_of_a_metric_are_told(tmp_path):
    cells = [measured(place(), score(0.5), replace(score(0.5), metric="lpips", better="lower"))]
    text = Page(page_of(tmp_path, manifest([place()], ["ssim", "lpips"]), cells)).text
    assert "ssim higher means that more leaked" in text
    assert "lpips lower means that more leaked" in text


def test_of_very_many_cells_only_those_without_a_measurement_are_listed_one_by_one(monkeypatch):
    monkeypatch.setattr("seethrough.reports.page.MOST_LISTED", 3)
    places = [place(trial) for trial in range(4)]
    cells = [measured(at, score(0.5)) for at in places[:2]]
    cells += [replace(measured(places[2]), status="failed", note="it broke")]

    def listed(count: int) -> str:
        page = render_page(read_report(manifest(places[:count]), cells))
        return page.partition('<details class="cells">')[2].partition("</details>")[0]

    assert "<summary>All 3 cells</summary>" in listed(3) and listed(3).count("<tr>") == 1 + 3
    assert "<summary>The 2 cells without a measurement</summary>" in listed(4) and listed(4).count("<tr>") == 1 + 2
    assert "All 4 cells are in <code>results.csv</code>" in listed(4) and "it broke" in listed(4)


ORDER = (
    *("verdict", "scope", "method", "glance", "block-1", "claims", "findings", "limitations", "coverage", "standards"),
    *("repeat", "glossary"),
)


def test_the_sections_stand_in_the_order_in_which_they_are_asked_for(tmp_path):
    at = place()
    page = page_of(tmp_path, manifest([at]), [measured(at, score(0.5))])
    assert tuple(re.findall(r'<section id="([^"]+)"', page)) == ORDER
    assert tuple(re.findall(r'<a href="#([^"]+)">', page[: page.index("</nav>")])) == ORDER


def test_what_many_bounds_rest_on_is_said_once(tmp_path):
    places = [place(trial, attack) for attack in ("one", "two", "three") for trial in range(3)]
    found = Recovery(20.0, 1, 4, 4, 3, 700, 0.01)
    cells = [measured(at, score(0.5), recovery=found, unclaimed="it promises no bound") for at in places]
    page = page_of(tmp_path, manifest(places), cells)
    section = page[page.index('<section id="claims">') :].partition("</section>")[0]
    table, _, notes = section.partition("Images recovered")[2].partition("</table>")
    assert table.count('<a href="#basis-1">basis 1</a>') == 3 and "it promises no bound" not in table
    assert notes.count("it promises no bound") == 1 and 'id="basis-1"' in notes


def test_a_page_of_thousands_of_cells_repeats_little(tmp_path):
    """Bytes of the page for one more combination, its pictures left out."""
    sizes = []
    for count in (10, 20):
        places = [place(trial, f"attack_{number}") for number in range(count) for trial in range(6)]
        cells = [measured(at, score(0.1 * at.trial), pictures=Pictures((png(),), (png(),), (png(),))) for at in places]
        page = page_of(tmp_path, manifest(places), cells)
        sizes.append(
            len(re.sub(r'data:image/png;base64,[^"]*|<details class="cells">.*?</details>', "", page, flags=re.DOTALL))
        )
    assert (sizes[1] - sizes[0]) / 10 < 1_500


def test_a_remark_that_differs_in_a_number_is_said_once_with_all_of_them(tmp_path):
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(4)]
    notes = ("", "alike", "of 10 images, a cosine of -0.003 is left; alike", "of 10 images, a cosine of 0.064 is left")
    cells = [measured(at, score(0.5, note=notes[at.trial])) for at in places]
    page = page_of(tmp_path, manifest(places), cells)
    assert page.count("a cosine of") == 1
    assert (
        "Noted: alike (in 4 of 8 trials); of 10 images, a cosine of -0.003 to 0.064 is left (in 4 of 8 trials)." in page
    )
