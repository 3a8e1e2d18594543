"""LaTeX tables with booktabs: the defenses in one line each, and every number with its floor."""

import re
from collections.abc import Iterable, Sequence

from seethrough.common.console import visible

from ..findings.grid import Block, Finding
from ..findings.text import interval, number
from ..report import Report

NEEDED = (
    "% These tables need \\usepackage{booktabs} and \\usepackage{array} in the preamble; each is as wide as the text."
)
RAGGED = ">{\\raggedright\\arraybackslash}"
DEFENSES = (0.18, 0.08, 0.08, 0.19, 0.18, 0.08, 0.11)  # of the width of the text; the rest stands between the columns
NUMBERS = (0.18, 0.2, 0.16, 0.04, 0.07, 0.15, 0.1)

_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "\N{MINUS SIGN}": "$-$",
        "∞": r"$\infty$",
        "ε": r"$\varepsilon$",
        "\n": " ",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


def latex_tables(report: Report) -> str:
    """Tables to be put into a document that loads booktabs."""
    parts = [NEEDED, f"% {_plain(report.manifest.name)}: {_plain(report.verdict.headline)}"]
    for block in report.blocks:
        parts.append(f"% {_plain(block.setting)}, {_plain(block.threat)}")
        lines = [each for each in report.defenses if (each.setting, each.threat) == (block.setting, block.threat)]
        rows = [
            (each.defense, each.fate, each.severity_words, each.labels, each.pictures, each.epsilon, each.accuracy_words)
            for each in lines
        ]  # fmt: skip
        parts.append(
            _table(("defense", "verdict", "severity", "labels", "pictures", "epsilon", "accuracy"), rows, DEFENSES)
        )
        parts += [_metric(block, metric) for metric in block.metrics if any(f.value for f in _of(block, metric))]
    return "\n\n".join(parts) + "\n"


def _metric(block: Block, metric: str) -> str:
    rows = [
        (
            *(each.attack, each.defense, interval(each.value), str(each.value.n)),
            "" if each.floor is None else number(each.floor, each.value.mean),
            "" if each.leak is None else interval(each.leak, sign=True),
            each.standing,
        )
        for each in _of(block, metric)
        if each.value is not None
    ]
    return _table(("attack", "defense", metric, "n", "floor", "leak", "standing"), rows, NUMBERS)


def _of(block: Block, metric: str) -> list[Finding]:
    return [finding for finding in block.findings if finding.metric == metric]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[float]) -> str:
    """A table as wide as the text: each column wraps, in its share of the width."""
    body = "\n".join(f"{' & '.join(map(_escaped, row))} \\\\" for row in rows)
    columns = "".join(f"{RAGGED}p{{{width:.2f}\\linewidth}}" for width in widths)
    return (
        f"{{\\noindent\\scriptsize\\setlength{{\\tabcolsep}}{{2pt}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{' & '.join(map(_escaped, head))} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\\par}}"
    )


def _escaped(text: str) -> str:
    """Text for a column, which may go on to the next line behind each part of a long name."""
    return re.sub(r"(\\_|[(,=])(?=\S)", r"\1\\allowbreak{}", visible(text).translate(_SPECIAL))


def _plain(text: str) -> str:
    """Text for a comment, which ends with its line."""
    return " ".join(visible(text).split())
