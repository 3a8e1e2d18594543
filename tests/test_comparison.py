"""Two runs side by side: what leaks more is said so, chance is not, and what cannot be compared says why."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from seethrough.audit.cli import main
from seethrough.reports import Cell, Described, Manifest
from seethrough.reports.comparison import Difference, compare, comparison_markdown, headline
from seethrough.reports.comparison.compare import LEVEL
from seethrough.reports.comparison.page import comparison_page
from seethrough.reports.comparison.significance import chances
from seethrough.reports.findings.text import interval
from seethrough.reports.report import read_report
from tests.reports_samples import kept, manifest, measured, place, png, score, with_text

WAS = (0.1, 0.3, 0.2, 0.4, 0.1, 0.2, 0.3, 0.2)


def run(values, defense: str = "noise", better: str = "higher", **planned) -> tuple[Manifest, list[Cell]]:
    places = [place(trial, defense=defense) for trial in range(len(values))]
    cells = [measured(at, score(float(value), better=better)) for at, value in zip(places, values, strict=True)]
    return replace(manifest(places), **planned), cells


def only(first, second) -> Difference:
    (found,) = compare(read_report(*first), read_report(*second)).differences
    return found


@pytest.mark.parametrize(
    ("now", "change"),
    [
        (WAS, "the same"),
        (tuple(value + 0.2 for value in WAS), "leaks more"),
        (tuple(value - 0.2 for value in WAS), "leaks less"),
        (tuple(value + (0.1 if at % 2 else -0.1) for at, value in enumerate(WAS)), "no difference shown"),
    ],
)
def test_what_changed_is_told_by_the_batches_of_both(now: tuple[float, ...], change: str):
    found = only(run(WAS), run(now))
    assert found.change == change and found.more.n == 8
    assert found.more.mean == pytest.approx(np.mean(now) - np.mean(WAS))
    assert (found.p is None) == (change == "the same")


def test_where_lower_is_better_for_the_attacker_less_is_more():
    found = only(run(WAS, better="lower"), run([value - 0.2 for value in WAS], better="lower"))
    assert found.change == "leaks more" and found.more.mean == pytest.approx(0.2)


def test_few_batches_show_no_change():
    assert only(run(WAS[:5]), run([value + 0.5 for value in WAS[:5]])).change == "too few batches"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed 0 and 1"),
        ({"settings": (Described("setting", ("a batch of 8",)),)}, "another setting of that name: a batch of 8"),
        ({"threats": (Described("threat", ("about threat", "labels")),)}, "another threat model of that name: labels"),
        ({"hashes": (("data of setting", "11"),)}, "other data"),
    ],
)
def test_what_was_not_measured_alike_is_not_compared(changes: dict, words: str):
    found = only(run(WAS), run(WAS, **changes))
    assert found.change == "not comparable" and words in found.reason and found.more is None


def test_what_only_one_run_has_is_said_of_it():
    found = compare(read_report(*run(WAS)), read_report(*run(WAS, "clipping"))).differences
    assert [(each.path[2], each.reason) for each in found] == [
        ("noise", "only in the first run"),
        ("clipping", "only in the second run"),
    ]


def test_a_number_that_was_lost_is_not_the_same():
    planned, cells = run(WAS)
    failed = [Cell(cell.key, "failed", "broke") for cell in cells]
    impossible = [Cell(cell.key, "n/a", "it cannot be") for cell in cells]
    assert only((planned, impossible), (planned, impossible)).change == "measured in neither"
    assert only((planned, failed), (planned, failed)).change == "not comparable"
    lost = only((planned, cells), (planned, failed))
    assert lost.change == "not comparable" and lost.reason == "in the first run measured, in the second 8 failed"


def test_a_number_that_was_lost_in_some_batches_is_not_the_same():
    """With one batch of eight left it had been "the same", and the gate had let it through."""
    planned, cells = run(WAS)
    rest = [*cells[:1], *(Cell(cell.key, "failed", "broke") for cell in cells[1:])]
    lost = only((planned, cells), (planned, rest))
    assert (lost.change, lost.reason) == ("not comparable", "of 8 batches of the first run, 7 failed in the second")
    assert only((planned, cells), run(WAS[:6])).reason == "of 8 batches of the first run, 2 not planned in the second"
    assert only((planned, rest), (planned, cells)).change == "the same"  # the first run lacked them
    worse = run([value + 0.4 for value in WAS[:7]])
    assert only((planned, cells), worse).change == "leaks more"  # by those that are left


def test_a_change_that_so_many_numbers_could_never_show_is_not_called_none():
    """Six batches in each of two settings: the change of one cannot get below p = 0.06 among both."""
    places = [place(trial, setting=setting) for setting in ("a", "b") for trial in range(6)]
    values = dict.fromkeys(places, 0.0)
    jitter = (0.01, -0.02, 0.03, -0.01, 0.02, -0.03)
    now = {at: 0.9 if at.setting == "a" else jitter[at.trial] for at in places}
    first, second = ([measured(at, score(v[at])) for at in places] for v in (values, now))
    found = compare(read_report(manifest(places), first), read_report(manifest(places), second)).differences
    assert [each.change for each in found] == ["too few batches", "too few batches"]


def test_findings_that_changed_alike_are_called_alike():
    """Ranks among drawn signs had broken exact ties by chance."""
    places = [place(trial, setting=f"setting {at}") for at in range(4) for trial in range(10)]
    first = [measured(at, score(0.1)) for at in places]
    second = [measured(at, score(0.1 + 0.05 * (1 + at.trial))) for at in places]
    found = compare(read_report(manifest(places), first), read_report(manifest(places), second)).differences
    assert {each.change for each in found} == {"leaks more"} and len({each.p for each in found}) == 1


def test_other_weights_or_facts_of_a_metric_are_another_metric():
    other = {"metrics": (Described("ssim", ("another window",)),)}
    assert "another metric of that name: another window" in only(run(WAS), run(WAS, **other)).reason
    assert only(run(WAS), run(WAS, hashes=(("weights of ssim", "11"),))).reason == "other weights of ssim"


@pytest.mark.parametrize("scale", [1e-10, 1e300])
def test_tiny_and_huge_numbers_differ_too(scale: float):
    free = {"low": -float("inf"), "high": float("inf")}
    places = [place(trial) for trial in range(8)]
    first = [measured(at, score(value * scale, **free)) for at, value in zip(places, WAS, strict=True)]
    second = [measured(at, score((value + 0.2) * scale, **free)) for at, value in zip(places, WAS, strict=True)]
    assert only((manifest(places), first), (manifest(places), second)).change == "leaks more"


def test_chance_is_called_a_change_at_most_once_in_twenty_comparisons():
    """Of thirty numbers at once; each by itself would be called one in three of four comparisons."""
    rng, wrong, comparisons = np.random.default_rng(0), 0, 200
    for _ in range(comparisons):
        drawn = rng.normal(0, 0.1, (30, 8))
        changes = {("setting", f"attack {number}"): dict(enumerate(row)) for number, row in enumerate(drawn)}
        wrong += any(each.p <= LEVEL for each in chances(changes).values())
    assert stats.binomtest(wrong, comparisons, LEVEL, alternative="greater").pvalue > 0.01, wrong


def test_a_change_of_one_number_in_thirty_is_found():
    rng = np.random.default_rng(1)
    places = [place(trial, f"attack {attack}") for attack in range(30) for trial in range(40)]
    values = {at: rng.normal(0, 0.1) for at in places}
    first = [measured(at, score(float(values[at]))) for at in places]
    moved = {at: 0.2 if at.attack == "attack 7" else rng.normal(0, 0.02) for at in places}
    second = [measured(at, score(float(values[at] + moved[at]))) for at in places]
    found = compare(read_report(manifest(places), first), read_report(manifest(places), second))
    assert [each.path[3] for each in found.changed("leaks more")] == ["attack 7"]


def test_what_else_differs_is_listed_and_names_break_no_table():
    first, second = run(WAS), run(WAS, defense="no|i*se", spec="name: another", versions=(("python", "4"),))
    found = compare(read_report(*first), read_report(*second))
    assert found.others == ("python: 3 and 4", "spec -name: an audit", "spec +name: another")
    text = comparison_markdown(found)
    assert r"no\|i\*se" in text and "python: 3 and 4" in text and headline(found) in text


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (run(WAS), 0),
        (run([value + 0.2 for value in WAS]), 3),
        (run(WAS, "clipping"), 4),
        (run([v - 0.2 for v in WAS]), 0),
    ],
)
def test_the_exit_code_is_the_answer(second, code: int, tmp_path: Path, monkeypatch, capsys):
    folders = [str(kept(tmp_path / name, audit)) for name, audit in (("a", run(WAS)), ("b", second))]
    monkeypatch.setattr(
        "sys.argv",
        ["seethrough", "compare", *folders, "--out", str(tmp_path / "c.md"), "--html", str(tmp_path / "c.html")],
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code or 0) == code
    assert capsys.readouterr().out.startswith("Of ") and (tmp_path / "c.md").read_text().startswith("# an audit and")
    assert "an audit and an audit" in (tmp_path / "c.html").read_text()


def test_the_page_says_what_the_tables_do_and_holds_nothing_foreign():
    names = itertools.cycle(["<script>alert(1)</script>", "a&b", "\u202eback", "\x1b[2J", "https://example.org/x.png"])
    first, second = (with_text(lambda: next(names), png()) for _ in range(2))
    hostile = comparison_page(compare(read_report(*first), read_report(*second)))
    more = run([value + 0.2 for value in WAS], spec="name: <i>another</i>", name="<b>after</b>")
    found = compare(read_report(*run(WAS)), read_report(*more))
    page = comparison_page(found)
    for each in (hostile, page):
        assert not re.search(r"<script|<b>after|<i>another|\x1b|\u202e|(src|href)=|@import|url\(", each)
        assert "default-src 'none'" in each
    assert headline(found) in page and 'class="verdict leaks"' in page and "&lt;b&gt;after&lt;/b&gt;" in page
    (difference,) = found.differences
    assert interval(difference.more, sign=True) in page and f"{difference.p:.4f}" in page and "▲" in page
    assert "spec +name: &lt;i&gt;another&lt;/i&gt;" in page
    assert page == comparison_page(found)


@pytest.mark.parametrize(
    ("second", "tone"), [(run(WAS), "held"), (run(WAS, "clipping"), ""), (run([value + 0.2 for value in WAS]), "leaks")]
)
def test_the_page_is_colored_as_the_exit_code_says(second, tone: str):
    assert f'class="verdict {tone}"' in comparison_page(compare(read_report(*run(WAS)), read_report(*second)))


def test_of_thousands_of_numbers_the_page_lists_those_to_look_at():
    places = [place(trial, f"attack {attack}") for attack in range(1_001) for trial in range(2)]
    first = [measured(at, score(0.5)) for at in places]
    second = [measured(at, score(0.9 if at.attack == "attack 7" else 0.5)) for at in places]
    page = comparison_page(compare(read_report(manifest(places), first), read_report(manifest(places), second)))
    assert page.count("by attack") == 1 and "of 1000 more there is nothing to say" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "found no manifest.json"),
        (["run", "--out", "no/where.md"], "--out: no/where.md: found no folder"),
        (["run", "--html", "no/where.html"], "--html: no/where.html: found no folder"),
        (["run", "--html", "run"], "--html: run: found a file or folder of this name; allowed: a name that is free"),
        (["run", "--html", "new", "--out", "new"], "--html: found new, as for --out; allowed: another name"),
    ],
)
def test_a_folder_that_is_wrong_is_one_sentence(arguments, words: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kept(tmp_path / "run", run(WAS))
    monkeypatch.setattr("sys.argv", ["seethrough", "compare", "run", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and words in " ".join(capsys.readouterr().err.split())


def test_another_strength_of_the_one_defense_that_differs_is_compared():
    """The case that a gate is for had been two numbers of which each was only in one run."""
    first, second = run(WAS, "dp_sgd(noise=1.0)"), run([value + 0.3 for value in WAS], "dp_sgd(noise=0.1)")
    found = compare(read_report(*first), read_report(*second))
    (only_one,) = found.differences
    assert only_one.change == "leaks more" and only_one.path[2] == "dp_sgd(noise=1.0)"
    assert "compared with each other: dp_sgd(noise=1.0) and dp_sgd(noise=0.1)" in found.others


def test_what_was_not_compared_is_not_said_to_be():
    """120 of 120 numbers were not comparable, yet two defenses were said to be compared."""
    first, (planned, cells) = run(WAS, "dp_sgd(noise=1.0)"), run(WAS, "dp_sgd(noise=0.1)")
    found = compare(read_report(*first), read_report(replace(planned, seed=1), cells))
    assert {each.change for each in found.differences} == {"not comparable"}
    assert not any("compared with each other" in each for each in found.others)


def test_where_it_is_not_clear_which_stands_for_which_none_does():
    places = [place(trial, defense=f"clip({at})") for at in (1, 2) for trial in range(8)]
    many = manifest(places), [measured(at, score(0.5)) for at in places]
    found = compare(read_report(*many), read_report(*run(WAS, "clip(3)")))
    assert {each.reason for each in found.differences} == {"only in the first run", "only in the second run"}


def test_more_trials_of_what_cannot_be_measured_are_the_same():
    (planned, _), (more, _) = run(WAS), run((*WAS, 0.1, 0.2))
    for manifests in ((planned, more), (more, planned)):
        first, second = ((m, [Cell(at.key, "n/a", "cannot be") for at in m.places]) for m in manifests)
        assert only(first, second).change == "measured in neither"


def test_a_run_whose_control_failed_is_said_and_leaves_nothing_known(tmp_path: Path, monkeypatch, capsys):
    places = [place(trial, defense=defense) for defense in ("none", "random_update") for trial in range(8)]
    audit = manifest(places), [measured(at, score(0.8 + at.trial / 100)) for at in places]
    folder = str(kept(tmp_path / "a", audit))
    monkeypatch.setattr("sys.argv", ["seethrough", "compare", folder, folder])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 4 and "in the second run: The negative control fails" in capsys.readouterr().out


def test_no_file_is_written_over(tmp_path: Path, monkeypatch, capsys):
    kept(tmp_path / "a", run(WAS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("mine")
    for name in ("mine.yaml", "a"):
        monkeypatch.setattr("sys.argv", ["seethrough", "compare", "a", "a", "--out", name])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2 and "allowed: a name that is free" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_a_weaker_attack_does_not_pass_for_a_better_defense():
    def by(attack: str, less: float) -> tuple[Manifest, list[Cell]]:
        places = [place(trial, attack) for trial in range(8)]
        return manifest(places), [measured(at, score(value - less)) for at, value in zip(places, WAS, strict=True)]

    found = compare(read_report(*by("dlg(steps=60)", 0.0)), read_report(*by("dlg(steps=6)", 0.3)))
    assert {each.change for each in found.differences} == {"not comparable"}
