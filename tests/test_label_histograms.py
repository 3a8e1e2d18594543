"""Labels class by class: what was true, what was found, and what the public proportions say."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest

import seethrough
from seethrough.reports import Cell
from seethrough.reports.findings.label_histograms import LabelHistogram, label_histograms
from seethrough.reports.page import render_page
from seethrough.reports.parts.label_bars import MOST, label_bars
from seethrough.reports.report import read_report
from seethrough.reports.row import ClassCount, LabelCounts
from tests.reports_samples import manifest, measured, place, score

GUESSER = "public proportions"
SUMMED = [{"clipping": {"max_norm": 1.0}}, {"secure_aggregation": {"clients": 2}}]


def counted(*rows: tuple[int, int, int], of: str = "client", name: str = "class {}") -> LabelCounts:
    """Of each class how often it is true, found, and guessed."""
    return LabelCounts(of, GUESSER, tuple(ClassCount(k, name.format(k), *row) for k, row in enumerate(rows)))  # type: ignore[arg-type]


def histogram(*trials: LabelCounts) -> LabelHistogram:
    places = [place(trial) for trial in range(len(trials))]
    cells = [measured(at, score(0.5), label_counts=counts) for at, counts in zip(places, trials, strict=True)]
    (found,) = label_histograms(manifest(places), cells)
    return found


def test_what_is_right_is_counted_batch_by_batch():
    """Twice class 0 in one batch, found in the other, is found in none: sums over batches would say otherwise."""
    found = histogram(counted((2, 0, 1), (0, 2, 1)), counted((0, 2, 1), (2, 0, 1)))
    assert [(each.true, each.right, each.wrong, each.guessed) for each in found.classes] == [(2, 0, 2, 1), (2, 0, 2, 1)]
    assert (found.batches, found.total("true"), found.total("wrong")) == (2, 4, 4)


def test_each_defense_and_attack_has_its_own_and_sums_stand_apart_from_clients():
    places = [place(trial, attack, defense) for attack in "ab" for defense in ("none", "d") for trial in range(2)]
    of = ("client", "client", "client", "cohort", "client", "client", "client", "client")
    cells = [
        measured(at, score(0.5), label_counts=counted((1, 1, 1), of=each)) for at, each in zip(places, of, strict=True)
    ]
    found = [(each.attack, each.defense, each.of, each.batches) for each in label_histograms(manifest(places), cells)]
    assert found == [
        *(("a", "none", "client", 2), ("a", "d", "client", 1), ("a", "d", "cohort", 1)),
        *(("b", "none", "client", 2), ("b", "d", "client", 2)),
    ]


@pytest.mark.parametrize("classes", [1, 10, MOST, MOST + 1, 300])
@pytest.mark.parametrize("name", ["class {}", "a long name of class {}"])
def test_bars_stay_within_the_picture_and_leave_no_label_out(classes: int, name: str):
    rows = [(k % 7, (3 * k) % 5, k % 3) for k in range(1, classes + 1)]
    whole = histogram(counted(*rows, name=name))
    drawn = label_bars(whole)
    frame, bars = drawn.frame, drawn.bars
    assert len(bars) == min(classes, MOST + 1) and drawn.upright == (classes > (MOST if name == "class {}" else 1))
    for bar in bars:
        assert frame.left <= bar.left and bar.left + 2 * bar.width <= frame.right
        assert (
            frame.top <= bar.wrong <= bar.right <= frame.bottom and frame.top <= bar.true <= bar.guessed <= frame.bottom
        )
    assert all(one.left + 2 * one.width <= other.left for one, other in pairwise(bars))
    told = [int(bar.words.split(": ")[-1].split(" true")[0]) for bar in bars]
    assert sum(told) == whole.total("true") == sum(row[0] for row in rows)
    assert all(bar.words in drawn.alternative for bar in bars)


def test_heights_are_in_proportion():
    (bar,) = label_bars(histogram(counted((8, 4, 2)))).bars
    frame = label_bars(histogram(counted((8, 4, 2)))).frame
    heights = [frame.bottom - top for top in (bar.true, bar.right, bar.guessed)]
    assert heights == pytest.approx([frame.bottom - frame.top, heights[0] / 2, heights[0] / 4])


def test_the_page_shows_them_as_pictures_with_text():
    places = [place(trial) for trial in range(2)]
    cells = [measured(at, score(0.5), label_counts=counted((2, 1, 1), (0, 1, 1))) for at in places]
    page = render_page(read_report(manifest(places), cells))
    drawing = page[page.index('<svg class="bars"') :]
    root = ElementTree.fromstring(drawing[: drawing.index("</svg>") + 6])
    words = "4 labels in 2 batches, 2 found, 2 found wrongly; public proportions: 2."
    assert root.get("aria-label") == (
        f"{words} class 0: 4 true, 2 of them found, 0 found wrongly, 2 guessed; "
        "class 1: 0 true, 0 of them found, 2 found wrongly, 0 guessed."
    )
    assert "Labels, class by class" not in render_page(read_report(manifest(places), [measured(places[0], score(0.5))]))


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> dict[tuple[str, str], list[Cell]]:
    """By threat model and defense."""
    audit = {
        "name": "counts",
        "trials": 2,
        "settings": [{"name": "s", "data": "digits", "model": "convnet", "batch_size": 3}],
        "threats": [
            {"name": "told", "grants": ["count", "recipe", "public", "labels"]},
            {"name": "not told", "grants": ["count"]},
        ],
        "defenses": ["none", SUMMED],
        "attacks": ["label_counts"],
        "metrics": ["label_accuracy", "cohort_labels"],
    }
    results = seethrough.audit(audit, tmp_path_factory.mktemp("run") / "out", workers=1, quiet=True)
    by_key = {cell.key: cell for cell in results.cells}
    found: dict[tuple[str, str], list[Cell]] = {}
    for at in results.manifest.places:
        found.setdefault((at.threat, at.defense[:4]), []).append(by_key[at.key])
    return found


@pytest.mark.parametrize(
    ("defense", "metric", "of", "size"),
    [("none", "label_accuracy", "client", 3), ("clip", "cohort_labels", "cohort", 6)],
)
def test_a_trial_counts_what_its_scores_say(cells, defense: str, metric: str, of: str, size: int):
    for cell in cells["not told", defense]:
        counts = cell.label_counts
        assert counts is not None and counts.of == of
        assert sum(each.true for each in counts.classes) == sum(each.guessed for each in counts.classes) == size
        score = next(each for each in cell.scores if each.metric == metric)
        guess = next(each.value for each in score.guesses if each.name == counts.guesser)
        assert sum(min(each.true, each.found) for each in counts.classes) == pytest.approx(score.value * size)
        assert sum(min(each.true, each.guessed) for each in counts.classes) == pytest.approx(guess * size)


def test_labels_that_are_granted_are_not_counted_as_found(cells):
    assert [cell.label_counts for defense in ("none", "clip") for cell in cells["told", defense]] == [None] * 4


def test_a_label_beyond_the_names_is_told_by_its_number():
    from seethrough.audit.data.digits import Digits

    images = Digits().load()
    assert images.name_of(3) in ("3", "class 3") and images.name_of(99) == "class 99"
