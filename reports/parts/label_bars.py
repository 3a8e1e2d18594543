"""Where the bars of a label histogram lie, in units of an SVG's view box."""

from dataclasses import dataclass

from ..findings.label_histograms import ClassTotal, LabelHistogram
from ..findings.text import brief, counted
from .axis import Axis, Frame

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 340, 30, 334, 26, 132
CAPTION = 16  # room for what the axis below counts
MOST = 20  # classes that are drawn; the rest is one
LETTER, LONGEST, TURNED = 6.4, 14, 84  # width of a letter; letters of a name, and room for it, where it stands upright
OTHERS = "other classes"


@dataclass(frozen=True)
class Bars:
    """One class: what was true, what was found of it rightly and wrongly, and where the guesser's tick is."""

    name: str
    words: str
    left: float  # of the bar of what was true; that of what was found follows it
    width: float  # of each
    true: float  # the tops, downward
    right: float
    wrong: float  # of what was found in all
    guessed: float
    middle: float


@dataclass(frozen=True)
class Histogram:
    """A whole picture."""

    bars: tuple[Bars, ...]
    most: int  # what the top line stands for
    upright: bool  # whether the names stand upright, being too long
    frame: Frame
    words: str  # what is shown, in a sentence
    alternative: str  # all of it as text


def label_bars(histogram: LabelHistogram) -> Histogram:
    """The picture of a histogram that has some class."""
    classes = _drawn(histogram)
    most = max(max(each.true, each.right + each.wrong, 1) for each in classes)
    up, room = Axis(0, most, BOTTOM, TOP), (RIGHT - LEFT) / len(classes)
    upright = any(LETTER * len(_short(each)) > room for each in classes)
    bars = tuple(_bars(each, LEFT + room * place, room, up) for place, each in enumerate(classes))
    frame = Frame(WIDTH, BOTTOM + (TURNED if upright else 22) + CAPTION, LEFT, RIGHT, TOP, BOTTOM)
    words = _words(histogram)
    return Histogram(bars, most, upright, frame, words, f"{words} {'; '.join(each.words for each in bars)}.")


def _drawn(histogram: LabelHistogram) -> tuple[ClassTotal, ...]:
    """The most frequent classes, and all others as one."""
    kept = {each.number for each in sorted(histogram.classes, key=lambda each: -each.true)[:MOST]}
    rest = [each for each in histogram.classes if each.number not in kept]
    others = ClassTotal(
        number=-1,
        name=f"{len(rest)} {OTHERS}",
        true=sum(each.true for each in rest),
        right=sum(each.right for each in rest),
        wrong=sum(each.wrong for each in rest),
        guessed=sum(each.guessed for each in rest),
    )
    return (*(each for each in histogram.classes if each.number in kept), *([others] if rest else []))


def _short(each: ClassTotal) -> str:
    """The name on the axis; of a class that has none, its number."""
    return brief(each.name.removeprefix("class "), LONGEST)


def _bars(each: ClassTotal, left: float, room: float, up: Axis) -> Bars:
    width, found = min(0.4 * room, 16.0), each.right + each.wrong
    said = (
        f"{each.name}: {each.true} true, {each.right} of them found, {each.wrong} found wrongly, {each.guessed} guessed"
    )
    return Bars(
        name=_short(each),
        words=said,
        left=round(left + room / 2 - width, 1),
        width=round(width, 1),
        true=up.at(each.true),
        right=up.at(each.right),
        wrong=up.at(found),
        guessed=up.at(each.guessed),
        middle=round(left + room / 2, 1),
    )


def _words(of: LabelHistogram) -> str:
    whose = "of the clients in the sum, " if of.of == "cohort" else ""
    there = f"{counted(of.total('true'), 'label')} in {counted(of.batches, 'batch', 'batches')}"
    found = f"{of.total('right')} found, {of.total('wrong')} found wrongly"
    tested = " Whether that is more than chance is for the metric cohort_labels to say." if of.of == "cohort" else ""
    return f"{there}, {whose}{found}; {of.guesser}: {of.total('guessed')}.{tested}"
