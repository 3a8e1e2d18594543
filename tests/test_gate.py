"""Policies: what is met, violated, or not known; and that a gate which checked nothing does not open."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import seethrough
from seethrough.audit.cli import main
from seethrough.audit.policy import BUILT_IN, load_policy
from seethrough.common.errors import InputError
from seethrough.reports import Cell, Manifest, Place, Recovery
from seethrough.reports.gate import Policy, judge_policy
from seethrough.reports.report import read_report
from tests.reports_samples import kept, manifest, measured, place, score, utility

LEAK, FLOOR, SMALL = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05), (0.02,) * 6
DOCUMENT = Path(__file__).parent.parent / "docs" / "gate.md"


def run(**columns: tuple[float | None, ...]) -> tuple[Manifest, list[Cell]]:
    """An audit of one attack through each defense; None where a cell is missing."""
    places = [place(trial, defense=defense) for defense, values in columns.items() for trial in range(len(values))]
    values = [value for column in columns.values() for value in column]
    cells = [measured(at, score(value)) for at, value in zip(places, values, strict=True) if value is not None]
    return manifest(places), cells


def outcomes(audit: tuple[Manifest, list[Cell]], *rules: dict[str, Any]) -> list[str]:
    described = [{"name": f"rule {place}", **rule} for place, rule in enumerate(rules)]
    policy = Policy.model_validate({"name": "p", "rules": tuple(described)})
    return [each.outcome for each in judge_policy(policy, read_report(*audit))]


HELD, BROKEN = run(none=LEAK, noise=FLOOR), run(none=LEAK, noise=LEAK)


@pytest.mark.parametrize(
    ("audit", "rule", "outcome"),
    [
        (HELD, {"require": "no_leak"}, "met"),
        (BROKEN, {"require": "no_leak"}, "violated"),
        (run(noise=FLOOR), {"require": "no_leak"}, "inconclusive"),  # without a positive control
        (run(none=LEAK, noise=(0.9,)), {"require": "no_leak"}, "inconclusive"),  # one batch
        (HELD, {"require": "leak", "defenses": "none"}, "met"),
        (run(none=FLOOR), {"require": "leak", "defenses": "none"}, "violated"),
        (run(none=(0.9,)), {"require": "leak", "defenses": "none"}, "inconclusive"),
        (HELD, {"require": "measured"}, "met"),
        (run(none=LEAK, noise=(0.1, None)), {"require": "measured"}, "inconclusive"),
        (BROKEN, {"leak_at_most": 0.9}, "met"),
        (BROKEN, {"leak_at_most": 0.3}, "violated"),
        (BROKEN, {"leak_at_most": 0.8}, "inconclusive"),  # within the interval
        (BROKEN, {"leak_at_most": 0.5, "defenses": "noise"}, "violated"),
        (run(none=LEAK, noise=(0.0, 0.0)), {"leak_at_most": 0.5}, "inconclusive"),  # no interval
    ],
)
def test_a_rule_is_met_violated_or_not_known(audit: Any, rule: dict[str, Any], outcome: str):
    assert outcomes(audit, rule) == [outcome]


@pytest.mark.parametrize(
    ("most", "values", "words"),
    [
        (0.5, (0.0, 0.9, 0.1) * 5, r"allowed: at most 0.5; about \d+ batches would exclude it$"),
        (0.4, (0.0, 0.9, 0.6) * 5, r"these gain that much on average, so that more of the same would not exclude it$"),
        (0.5, (0.0, 0.9), r"fewer than 12 batches cannot tell how many it would take$"),
        (0.9, (0.0, 0.1) * 6, r"allowed: at most 0.9$"),
        (0.1, (0.8, 0.9) * 6, r"allowed: at most 0.1$"),
    ],
)
def test_a_leak_that_is_not_known_to_be_small_says_what_it_would_take(most: float, values: tuple, words: str):
    policy = Policy.model_validate({"name": "p", "rules": ({"name": "r", "defenses": "noise", "leak_at_most": most},)})
    ((found,),) = [each.evidence for each in judge_policy(policy, read_report(*run(none=LEAK, noise=values)))]
    assert re.search(words, found.words)


@pytest.mark.parametrize("key", ["settings", "threats", "defenses", "attacks", "metrics"])
@pytest.mark.parametrize("rule", [{"require": "no_leak"}, {"require": "measured"}, {"leak_at_most": 5.0}])
def test_a_rule_about_nothing_is_not_met(key: str, rule: dict[str, Any]):
    assert outcomes(HELD, {**rule, key: "no such name"}) == ["inconclusive"]


def test_controls_are_meant_only_by_their_names():
    assert outcomes(HELD, {"leak_at_most": 0.5}, {"leak_at_most": 0.5, "defenses": "no*"}) == ["met", "met"]
    assert outcomes(HELD, {"leak_at_most": 0.5, "defenses": "none"}) == ["violated"]


def test_a_negative_control_that_finds_something_leaves_no_rule_met():
    alarmed = run(none=LEAK, noise=FLOOR, random_update=LEAK)
    found = outcomes(
        alarmed, {"require": "no_leak"}, {"require": "measured"}, {"leak_at_most": 0.0, "defenses": "none"}
    )
    assert found == ["inconclusive", "inconclusive", "violated"]


@pytest.mark.parametrize(
    ("audit", "rules", "code"),
    [
        (HELD, [{"name": "a", "require": "no_leak"}, {"name": "b", "leak_at_most": 0.5}], 0),
        (BROKEN, [{"name": "a", "require": "no_leak"}, {"name": "b", "attacks": "x", "require": "measured"}], 3),
        (HELD, [{"name": "a", "require": "no_leak"}, {"name": "b", "attacks": "x", "require": "measured"}], 4),
    ],
)
def test_the_exit_code_is_the_answer(audit, rules, code: int, tmp_path: Path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", audit)
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"name": "mine", "rules": rules}))
    monkeypatch.setattr("sys.argv", ["seethrough", "check", str(folder), "--policy", str(tmp_path / "p.yaml")])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().out
    assert (stopped.value.code or 0) == code
    assert "policy mine" in said and "was not fixed before" in said and "a (high)" in said


def checked(folder: Path, monkeypatch, capsys, *options: str) -> list[str]:
    monkeypatch.setattr("sys.argv", ["seethrough", "check", str(folder), *options])
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out.splitlines()


def test_a_rule_is_one_line_and_only_what_speaks_against_it_stands_below(tmp_path: Path, monkeypatch, capsys):
    rules = [{"name": "a", "require": "measured"}, {"name": "b", "require": "no_leak"}]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"name": "mine", "rules": rules}))
    columns = {f"broken-{number}": LEAK for number in range(7)}
    folder = kept(tmp_path / "run", run(none=LEAK, random_update=FLOOR, noise=FLOOR, **columns))
    policy = ("--policy", str(tmp_path / "p.yaml"))
    _, met, violated, *below, last = checked(folder, monkeypatch, capsys, *policy)
    assert (met, violated) == ("met           a (high)", "violated      b (high)")
    assert below == [*(f"    broken-{number}: leaks" for number in range(5)), "    and 2 more; --verbose prints all"]
    assert last == "of 2 rules 1 met, 1 violated"
    every = checked(folder, monkeypatch, capsys, *policy, "--verbose")
    assert "    noise: 1 combination measured" in every and "    met: noise: held" in every
    assert sum(line.endswith(": leaks") for line in every) == 7


def test_of_several_settings_each_is_named(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "p.yaml").write_text("name: p\nrules: [{name: a, require: no_leak}]")
    places = [
        place(trial, defense=defense, setting=setting)
        for setting in "ab"
        for defense in ("none", "x")
        for trial in range(6)
    ]
    folder = kept(tmp_path / "run", (manifest(places), [measured(at, score(LEAK[at.trial])) for at in places]))
    said = checked(folder, monkeypatch, capsys, "--policy", str(tmp_path / "p.yaml"))
    assert "    a, threat: x: leaks" in said and "    b, threat: x: leaks" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: p\nrules: []\n", "rules: found []; allowed: a list of at least 1 item"),
        ("name: p\nrules: [{name: a}]\n", "require or leak_at_most, one of them"),
        ("name: p\nrules: [{name: a, require: no_leak, leak_at_most: 1}]\n", "require or leak_at_most, one of them"),
        ("name: p\nrules: [{name: a, requires: leak}]\n", "did you mean require?"),
        ("name: p\nrules: [{name: a, defense: none, require: leak}]\n", "did you mean defenses?"),
        ("", "p.yaml"),
        ("name: p\nrules: [{name: a, require: leaks}]\n", "allowed: 'no_leak', 'leak', 'measured' or 'plan_kept'"),
        ("name: p\nrules: [{name: a, leak_at_most: .nan}]\n", "leak_at_most"),
        ("[1]\n", "found"),
    ],
)
def test_a_policy_with_a_mistake_is_one_sentence(text: str, words: str, tmp_path: Path):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError) as refused:
        load_policy(str(tmp_path / "p.yaml"))
    assert words in str(refused.value) and "p.yaml" in str(refused.value), refused.value


def test_what_is_built_in_and_what_the_documents_show_can_be_read(tmp_path: Path):
    for name in BUILT_IN:
        assert load_policy(name)[0].name == name
    shown = [text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "rules:" in text]
    for text in shown:
        (tmp_path / "p.yaml").write_text(text)
        assert load_policy(str(tmp_path / "p.yaml"))[0].rules
    assert shown


def spec(name: str = "a") -> dict[str, Any]:
    setting = {"name": "s", "data": "digits", "model": {"convnet": {"width": 4}}, "batch_size": 1}
    return {
        "name": name,
        "trials": 2,
        "settings": [setting],
        "threats": [{"name": "server"}],
        "defenses": ["none"],
        "attacks": ["label_sign"],
        "metrics": ["label_accuracy"],
    }


def test_a_policy_is_fixed_before_the_first_cell_and_not_after(tmp_path: Path, monkeypatch, capsys):
    out = tmp_path / "out"
    for _ in range(2):  # going on keeps it
        results = seethrough.audit(spec(), out, workers=1, policy="research", quiet=True)
    results = seethrough.audit(spec(), out, workers=1, quiet=True)
    assert ("policy research", load_policy("research")[1]) in results.manifest.hashes
    with pytest.raises(InputError, match=r"--policy: found 2 finished cells in .*; allowed: one that was named before"):
        seethrough.audit(spec(), out, workers=1, policy="strict", quiet=True)
    monkeypatch.setattr("sys.argv", ["seethrough", "check", str(out), "--policy", "research"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 4 and "was fixed before" in capsys.readouterr().out


def test_a_small_leak_is_not_shown_by_a_part_of_the_trials_nor_by_a_metric_that_cannot_be_had():
    assert outcomes(run(none=LEAK, noise=(*FLOOR, None)), {"leak_at_most": 0.9}) == ["inconclusive"]
    places = [place(trial, defense="noise") for trial in range(6)]
    lacking = [measured(at, score(None, status="unavailable")) for at in places]
    assert outcomes((manifest(places), lacking), {"leak_at_most": 0.9}) == ["inconclusive"]


def test_a_name_with_brackets_is_chosen_by_itself():
    audit = run(**{"none": LEAK, "top[k]": FLOOR})
    assert outcomes(audit, {"require": "no_leak", "defenses": "top[k]"}) == ["met"]


def test_a_policy_does_not_pass_from_one_audit_to_the_cells_of_another(tmp_path: Path):
    """Through an audit of the cells of both it had come to look as if it had been fixed before those that were seen."""
    first, second = spec(), {**spec(), "seed": 5}
    both = {**spec(), "trials": 3}
    out = tmp_path / "out"
    seethrough.audit(first, out, workers=1, quiet=True)
    seethrough.audit(second, out, workers=1, policy="research", replace=True, quiet=True)
    with pytest.raises(InputError, match="which know of no such policy"):
        seethrough.audit(both, out, workers=1, policy="research", replace=True, quiet=True)


def judged(cells: dict[Place, Cell], rule: dict[str, Any], metrics: tuple[str, ...] = ("ssim",), **planned: Any) -> str:
    (outcome,) = outcomes((replace(manifest([*cells], metrics), **planned), [*cells.values()]), rule)
    return outcome


def column(
    defense: str, values: tuple[float, ...], attack: str = "attack", setting: str = "setting"
) -> dict[Place, Cell]:
    places = [place(trial, attack, defense, setting=setting) for trial in range(len(values))]
    return {at: measured(at, score(value)) for at, value in zip(places, values, strict=True)}


def impossible(
    defense: str, attack: str = "attack", setting: str = "setting", status: str = "n/a"
) -> dict[Place, Cell]:
    places = [place(trial, attack, defense, setting=setting) for trial in range(6)]
    return {at: Cell(at.key, status, "it cannot be") for at in places}  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [{"attacks": "other"}, {"metrics": "other"}])
def test_a_rule_of_no_leak_is_about_its_own_attacks_and_metrics(rule: dict[str, Any]):
    """It had been met by what the whole defense came to."""
    cells = column("none", LEAK) | column("noise", FLOOR)
    cells |= column("none", LEAK, "other") | impossible("noise", "other")
    assert judged(cells, {"require": "no_leak"}) == "met"
    assert judged(cells, {"require": "no_leak"} | rule, ("ssim", "other")) == "inconclusive"
    leaking = (
        column("none", LEAK) | column("noise", FLOOR) | column("none", LEAK, "other") | column("noise", LEAK, "other")
    )
    assert judged(leaking, {"require": "no_leak", "attacks": "attack"}) == "met"
    assert judged(leaking, {"require": "no_leak", "attacks": "other"}) == "violated"


@pytest.mark.parametrize("status", ["failed", None])
def test_a_defense_with_cells_that_failed_or_are_missing_is_not_shown_to_hold(status: str | None):
    cells = column("none", LEAK) | column("noise", FLOOR * 2)
    at = next(each for each in cells if each.defense == "noise")
    cells[at] = Cell(at.key, "failed", "it broke") if status else Cell("another", "ok")
    assert judged(cells, {"require": "no_leak"}) == "inconclusive"


@pytest.mark.parametrize("rule", [{"leak_at_most": 0.9}, {"require": "measured"}, {"require": "no_leak"}])
@pytest.mark.parametrize("where", [{"defense": "masks"}, {"defense": "noise", "setting": "another"}])
def test_what_could_not_be_run_at_all_meets_nothing(where: dict[str, str], rule: dict[str, Any]):
    cells = column("none", LEAK) | column("noise", FLOOR)
    assert judged(cells, rule) == "met"
    assert judged(cells | impossible(**where), rule) == "inconclusive"
    assert judged(cells | impossible("noise", "labels only"), rule) == "met"  # by another attack it was measured


def test_a_metric_that_cannot_be_had_is_not_measured():
    cells = {at: measured(at, score(None, status="unavailable")) for at in column("noise", FLOOR)}
    assert judged(cells, {"require": "measured"}) == "inconclusive"


def test_trainings_that_failed_or_are_missing_were_not_measured():
    at, cells = place(attack="training", defense="noise", threat=""), column("none", LEAK) | column("noise", FLOOR)
    rule = {"require": "measured"}

    def outcome(*training: Cell, **changes: str) -> str:
        planned = replace(manifest([*cells]), trainings=(at,))
        return outcomes((planned, [*cells.values(), *training]), rule | changes)[0]

    assert outcome(measured(at, utility=utility(0.8))) == "met"
    assert outcome() == outcome(Cell(at.key, "failed", "it broke")) == "inconclusive"
    assert outcome(measured(at, utility=utility(float("nan")))) == "inconclusive"
    assert outcome(attacks="attack") == "met"  # a training has no attack


def test_a_refuted_guarantee_is_a_leak():
    told = Recovery(20.0, 4, 4, 4, 3, 700, 0.01, 0.05)
    cells = column("none", LEAK) | {at: replace(cell, recovery=told) for at, cell in column("noise", FLOOR).items()}
    assert judged(cells, {"require": "no_leak"}) == "violated"
    assert judged(cells, {"require": "no_leak", "attacks": "other"}) == "inconclusive"


def test_where_a_recording_is_doubted_nothing_is_met():
    cells = column("none", LEAK) | column("noise", FLOOR)
    for rule in ({"require": "no_leak"}, {"require": "measured"}, {"leak_at_most": 0.9}):
        assert judged(cells, rule, doubts=("the update is not of these weights",)) == "inconclusive"


def test_a_name_with_brackets_means_no_other():
    cells = column("none", LEAK) | column("d[1]", FLOOR) | column("d1", LEAK)
    assert judged(cells, {"require": "no_leak", "defenses": "d[1]"}) == "met"
    assert judged(cells, {"require": "no_leak", "defenses": "d[12]"}) == "violated"


@pytest.mark.parametrize("status", ["failed", "n/a", None])
def test_a_negative_control_that_was_not_measured_leaves_no_rule_met(status: str | None):
    """All of `strict` had been met, with the control failed in every cell."""
    cells = column("none", LEAK) | column("noise", FLOOR)
    control = {at: Cell(at.key if status else "x", status or "ok", "why") for at in column("random_update", FLOOR)}  # type: ignore[arg-type]
    for rule in ({"require": "no_leak"}, {"require": "measured"}, {"leak_at_most": 0.9}):
        assert judged(cells | column("random_update", FLOOR), rule) == "met"
        assert judged(cells | control, rule) == "inconclusive"


def test_a_positive_control_that_fails_leaves_no_rule_met():
    assert judged(column("none", FLOOR) | column("noise", FLOOR), {"leak_at_most": 0.5}) == "inconclusive"


def test_no_leak_in_half_of_the_cells_violates_no_rule_of_a_leak():
    cells = column("none", FLOOR * 2)
    for at in [*cells][6:]:
        cells[at] = Cell(at.key, "failed", "broke")
    assert judged(cells, {"require": "leak", "defenses": "none"}) == "inconclusive"


def test_what_could_be_had_in_some_trials_only_is_not_measured():
    cells = column("none", LEAK * 2) | column("noise", FLOOR * 2)
    for at in [at for at in cells if at.defense == "noise"][6:]:
        cells[at] = measured(at, score(None, status="unavailable"))
    for rule in ({"require": "no_leak"}, {"require": "measured"}, {"leak_at_most": 0.9}):
        assert judged(cells, rule) == "inconclusive"


def test_trainings_of_a_defense_that_no_attack_met_count_too():
    at, cells = place(attack="training", defense="masks", threat=""), column("none", LEAK) | column("noise", FLOOR)
    planned = replace(manifest([*cells]), trainings=(at,))
    assert outcomes((planned, [*cells.values()]), {"require": "measured", "defenses": "masks"}) == ["inconclusive"]


def test_a_pattern_that_fits_nothing_is_named():
    policy = Policy.model_validate({"name": "p", "rules": ({"name": "r", "defenses": "dpsgd*", "require": "no_leak"},)})
    (found,) = judge_policy(policy, read_report(*HELD))
    assert found.evidence[0].words.endswith("nothing of defenses: dpsgd*")


def test_a_policy_that_is_not_there_is_one_sentence_and_leaves_no_folder(tmp_path: Path):
    with pytest.raises(
        InputError, match=r"--policy: found 'stric'; allowed: strict, research, or a YAML file that exists"
    ):
        seethrough.audit(spec(), tmp_path / "out", policy="stric", quiet=True)
    assert not (tmp_path / "out").exists()


def test_the_built_in_strict_policy_wants_both_controls():
    """A negative control that was never run had counted as one that holds."""
    cells = column("none", LEAK) | column("noise", FLOOR) | column("random_update", FLOOR)
    policy = load_policy("strict")[0]
    for absent, lacking in (("none", "positive"), ("random_update", "negative")):
        left = {at: cell for at, cell in cells.items() if at.defense != absent}
        found = {
            each.rule.name: each.outcome
            for each in judge_policy(policy, read_report(manifest([*left]), [*left.values()]))
        }
        assert found[f"the {lacking} control too"] == "inconclusive"
    found = {
        each.rule.name: each.outcome
        for each in judge_policy(policy, read_report(manifest([*cells]), [*cells.values()]))
    }
    assert found["the positive control too"] == found["the negative control too"] == "met"


@pytest.mark.parametrize("policy", BUILT_IN)
def test_a_control_that_was_not_run_is_said_whatever_the_policy_asks(policy: str, tmp_path: Path, monkeypatch, capsys):
    said = checked(kept(tmp_path / "run", run(none=LEAK, noise=FLOOR)), monkeypatch, capsys, "--policy", policy)
    assert any(each.startswith("No negative control: ") for each in said)
    assert not any("the controls too" in each for each in said)
    whole = kept(tmp_path / "whole", run(none=LEAK, noise=FLOOR, random_update=FLOOR))
    assert not any("No negative control" in each for each in checked(whole, monkeypatch, capsys, "--policy", policy))
