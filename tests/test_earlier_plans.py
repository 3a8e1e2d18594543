"""Plans that were changed after results had been seen: they are remembered, said, and a gate can refuse them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import seethrough
from seethrough.audit.cells.store import Store
from seethrough.audit.earlier_plans import with_history
from seethrough.audit.merge import merge
from seethrough.audit.policy import load_policy
from seethrough.common.console import Terminal
from seethrough.common.errors import InputError
from seethrough.reports import Cell, Manifest, Place, write_reports
from seethrough.reports.comparison import compare
from seethrough.reports.exports.junit import junit_xml
from seethrough.reports.gate import judge_policy
from seethrough.reports.plan_changes import plan_changes
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, score

RAISED = "Trials were added after results had been seen"
LEFT_OUT = "Results were left out after they had been seen"


def planned(*counts: int, spec: str = "name: an audit", attack: str = "attack") -> Manifest:
    """As many trials of each defense, the first of which is none."""
    places = [
        Place(
            f"{attack}-{defense}-{trial}", "setting", "threat", "none" if not defense else f"d{defense}", attack, trial
        )
        for defense, count in enumerate(counts)
        for trial in range(count)
    ]
    return replace(manifest(places), spec=spec)


def folder_with(tmp_path: Path, plan: Manifest, status: str = "ok", name: str = "run") -> Store:
    """The folder of a run of which every other cell is finished."""
    store = Store(tmp_path / name)
    with store.lock():
        store.write_manifest(plan)
        for place in plan.places[::2]:
            store.write(replace(measured(place, score(0.5)), status=status))
    return store


def changed(tmp_path: Path, before: Manifest, after: Manifest, status: str = "ok", replaces: bool = False) -> Manifest:
    return with_history(after, before, folder_with(tmp_path, before, status), replaces)


def test_trials_that_were_added_after_results_are_said_with_their_date(tmp_path: Path):
    found = changed(tmp_path, planned(4, 4), planned(9, 4, spec="name: more"))
    (earlier,) = found.earlier
    assert (earlier.trials, earlier.planned, earlier.measured, earlier.raised, earlier.left_out) == (4, 8, 4, 1, 0)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", earlier.until)
    (sentence,) = plan_changes(found)
    assert (
        sentence.startswith(RAISED)
        and "had 4 trials, and 4 of its 8 cells were measured; then 1 combination" in sentence
    )


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (planned(4, 4), planned(4, 4, spec="# a comment\nname: an audit"), "ok"),  # the same cells
        (planned(4), planned(4, 9, spec="name: another defense"), "ok"),
        (planned(4), planned(9, spec="name: more"), "failed"),  # nothing was measured
        (planned(4), planned(4, attack="other"), "ok"),  # the same spec, by other code
        (planned(4), planned(4, attack="other", spec="name: other"), "n/a"),
    ],
)
def test_what_changes_no_number_of_batches_is_no_fault(tmp_path: Path, before: Manifest, after: Manifest, status: str):
    assert plan_changes(changed(tmp_path, before, after, status)) == ()


def with_data(plan: Manifest, digest: str) -> Manifest:
    return replace(plan, hashes=(("code", "1"), ("data of setting", digest)))


def test_trials_that_were_taken_away_after_results_are_said(tmp_path: Path):
    """Whoever stops where it pleases has the same plan as who had planned it so."""
    store, before = folder_with(tmp_path, planned(4)), planned(9)
    (sentence,) = plan_changes(with_history(planned(4, spec="name: fewer"), before, store, False))
    assert sentence.startswith("Trials were taken away after results had been seen") and "1 combination" in sentence


def test_margins_that_were_changed_after_results_are_said(tmp_path: Path):
    (sentence,) = plan_changes(changed(tmp_path, planned(4), replace(planned(4), margins=(("ssim", 0.6),))))
    assert sentence.startswith("Margins were changed after results had been seen")


def test_a_plan_that_is_taken_up_again_before_more_was_measured_is_the_same(tmp_path: Path):
    store, first, second = folder_with(tmp_path, planned(4)), planned(4), planned(30, spec="name: a slip")
    slipped = with_history(second, first, store, False)
    assert len(slipped.earlier) == 1
    assert with_history(first, slipped, store, False).earlier == ()
    store.write(measured(second.places[-1], score(0.5)))
    with pytest.raises(InputError, match="1 measured cell"):
        with_history(first, slipped, store, False)


def test_other_data_under_the_same_spec_is_another_audit(tmp_path: Path):
    before, after = with_data(planned(4), "a"), with_data(planned(4, attack="keys of other data"), "b")
    with pytest.raises(InputError, match="2 measured cells"):
        changed(tmp_path, before, after)
    (sentence,) = plan_changes(changed(tmp_path, before, after, replaces=True))
    assert sentence.startswith(LEFT_OUT)


def test_results_of_another_audit_are_not_left_out_in_silence(tmp_path: Path):
    before, after = planned(4, 4), planned(4, spec="name: fewer")
    with pytest.raises(
        InputError, match=r"run: found 2 measured cells of the audit 'an audit' that .* or --replace, which"
    ):
        changed(tmp_path, before, after)
    (sentence,) = plan_changes(changed(tmp_path, before, after, replaces=True))
    assert sentence.startswith(LEFT_OUT) and "2 of these are not part of this run" in sentence


def test_earlier_plans_are_kept_through_all_later_ones(tmp_path: Path):
    store = folder_with(tmp_path, planned(4))
    second = with_history(planned(6, spec="b"), planned(4), store, False)
    third = with_history(planned(9, spec="c"), second, store, False)
    again = with_history(planned(9, spec="c"), third, store, False)
    assert [each.trials for each in again.earlier] == [4, 6] and again == third


def reported(folder: Path) -> Manifest:
    return changed(folder, planned(6, 6), planned(9, 9, spec="name: more"))


def cells_of(plan: Manifest) -> list[Cell]:
    return [measured(at, score(0.8 if at.defense == "none" else (0.05, -0.05)[at.trial % 2])) for at in plan.places]


def test_page_tables_and_digest_say_so(tmp_path: Path):
    plan = reported(tmp_path)
    write_reports(tmp_path / "out", plan, cells_of(plan))
    digest = json.loads((tmp_path / "out" / "report.json").read_text())
    assert digest["plan_changes"][0].startswith(RAISED) and digest["earlier_plans"][0]["raised"] == 2
    assert digest["headline"].endswith("The plan was changed after results had been seen: see below.")
    for name in ("index.html", "results.md"):
        assert RAISED in (tmp_path / "out" / name).read_text()
    kept = replace(plan, earlier=())
    write_reports(tmp_path / "out", kept, cells_of(plan))
    assert RAISED not in (tmp_path / "out" / "index.html").read_text()
    others = compare(read_report(kept, cells_of(plan)), read_report(plan, cells_of(plan))).others
    assert others[0].startswith(f"the plan of the second run: {RAISED}")


def test_a_run_compared_with_itself_differs_in_nothing(tmp_path: Path):
    plan = reported(tmp_path)
    report = read_report(plan, cells_of(plan))
    assert compare(report, report).others == ()


def junit(plan: Manifest) -> dict[str, str]:
    """By test of the first suite, what became of it."""
    suite = ElementTree.fromstring(junit_xml(read_report(plan, cells_of(plan))))[0]
    tags = {case.get("name"): case[0].tag if len(case) else "" for case in suite}
    counts = [sum(tag == kind for tag in tags.values()) for kind in ("failure", "skipped")]
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == [str(len(tags)), *map(str, counts)]
    return tags


def test_junit_fails_for_a_changed_plan(tmp_path: Path):
    plan = reported(tmp_path)
    assert junit(plan)["plan kept"] == "failure" and junit(replace(plan, earlier=()))["plan kept"] == ""


def without_manifest(tmp_path: Path, now: Manifest, damaged: bool = False, replaces: bool = False) -> Manifest:
    """The plan of a run in a folder whose cells have no manifest that can be read."""
    store = folder_with(tmp_path, planned(4))
    path = tmp_path / "run" / "manifest.json"
    path.write_text("no manifest") if damaged else path.unlink()
    return with_history(now, None, store, replaces)


@pytest.mark.parametrize("damaged", [True, False])
def test_a_history_that_is_lost_is_said_and_not_known_to_the_gate(tmp_path: Path, damaged: bool):
    plan, (strict, _) = without_manifest(tmp_path, planned(9), damaged), load_policy("strict")
    (sentence,) = plan_changes(plan)
    assert sentence.startswith("The history of the plan is lost: on 20") and "2 measured cells, 0 of which" in sentence
    write_reports(tmp_path / "out", plan, cells_of(plan))
    digest = json.loads((tmp_path / "out" / "report.json").read_text())
    assert digest["plan_changes"] == [sentence]
    assert digest["headline"].endswith("What was planned before results were seen is not known: see below.")
    for name in ("index.html", "results.md"):
        assert "The history of the plan is lost" in (tmp_path / "out" / name).read_text()
    judged = judge_policy(strict, read_report(plan, cells_of(plan)))
    assert next(each.outcome for each in judged if each.rule.require == "plan_kept") == "inconclusive"
    assert junit(plan)["plan kept"] == "skipped"


def test_what_lies_in_a_folder_without_a_manifest_is_not_left_out_in_silence(tmp_path: Path):
    with pytest.raises(InputError, match="2 measured cells of an audit without a manifest that this one does not have"):
        without_manifest(tmp_path, planned(4, attack="other"))
    (sentence,) = plan_changes(without_manifest(tmp_path, planned(4, attack="other"), replaces=True))
    assert "2 of which are not part of this run" in sentence


def test_a_folder_that_holds_no_measured_cell_has_no_history(tmp_path: Path):
    assert with_history(planned(4), None, Store(tmp_path / "new"), False).earlier == ()
    store = folder_with(tmp_path, planned(4), status="failed")
    assert with_history(planned(4), None, store, False).earlier == ()


def test_shards_are_not_merged_into_a_folder_of_unknown_cells_in_silence(tmp_path: Path):
    folder_with(tmp_path, planned(4), name="a")
    folder_with(tmp_path, planned(4), name="whole")
    (tmp_path / "whole" / "manifest.json").unlink()
    found, _ = merge([tmp_path / "a"], tmp_path / "whole", Terminal(quiet=True))
    assert found.earlier[0].is_lost


def test_the_strict_policy_forbids_it(tmp_path: Path):
    plan, (strict, _) = reported(tmp_path), load_policy("strict")

    def outcome(of: Manifest) -> str:
        judged = judge_policy(strict, read_report(of, cells_of(plan)))
        return next(each.outcome for each in judged if each.rule.require == "plan_kept")

    assert outcome(plan) == "violated" and outcome(replace(plan, earlier=())) == "met"


def test_a_rule_on_the_plan_is_about_the_whole_run(tmp_path: Path):
    path = tmp_path / "policy.yaml"
    path.write_text("name: p\nrules: [{name: r, require: plan_kept, defenses: d1}]")
    with pytest.raises(InputError, match=r"plan_kept, which is about the whole run, without defenses"):
        load_policy(str(path))


def test_shards_that_were_added_to_at_other_times_can_be_merged(tmp_path: Path):
    before, after = planned(4), planned(9, spec="name: more")
    for name in ("a", "b"):
        store = folder_with(tmp_path, before, name=name)
        later = with_history(after, before, store, False)
        with store.lock():
            store.write_manifest(
                replace(later, earlier=(replace(later.earlier[0], until=f"2026-01-0{'ab'.index(name)}"),))
            )
    found, _ = merge([tmp_path / "b", tmp_path / "a"], tmp_path / "whole", Terminal(quiet=True))
    assert [each.until for each in found.earlier] == ["2026-01-00", "2026-01-01"]


def test_a_run_that_goes_on_with_more_trials_says_so(tmp_path: Path, capsys):
    spec = {
        "name": "more",
        "trials": 1,
        "settings": [{"name": "s", "data": "digits", "model": "convnet", "batch_size": 2, "labels": "unique"}],
        "threats": [{"name": "t", "grants": ["count", "recipe", "public"]}],
        "defenses": ["none"],
        "attacks": ["label_sign"],
        "metrics": ["label_accuracy"],
    }
    seethrough.audit(spec, tmp_path / "out", workers=1)
    assert seethrough.audit(spec, tmp_path / "out", workers=1).manifest.earlier == ()
    more = seethrough.audit({**spec, "trials": 2}, tmp_path / "out", workers=1)
    assert more.verdict.endswith("see below.") and RAISED in capsys.readouterr().out
    with pytest.raises(InputError, match=r"1 measured cell of the audit 'more'"):
        seethrough.audit(spec, tmp_path / "out", workers=1)
