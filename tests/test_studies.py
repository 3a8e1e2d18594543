"""The studies in benchmarks/: their specs are valid wherever they run, and their tables say what the rows say."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from seethrough.attacks.gradinversion import GradInversion
from seethrough.audit.specification.file import load_spec

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STUDIES = sorted((BENCHMARKS / "studies").glob("*.yaml"))
SPECS = [path for path in sorted(BENCHMARKS.glob("*.yaml")) if path.stem != "published"]


@pytest.fixture(scope="module")
def study():
    described = importlib.util.spec_from_file_location("study", BENCHMARKS / "study.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_a_valid_spec_on_digits_where_its_data_are_absent(study, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written, replaced = study._spec(path, tmp_path)
    assert all(setting.data.load().classes == 10 for setting in load_spec(written).settings)
    assert replaced == ("../shared" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_tunes_on_images_and_a_seed_that_it_does_not_report(study, path, tmp_path):
    reported = load_spec(study._spec(path, tmp_path)[0])
    assert reported.seed != study.TUNING_SEED
    assert all(setting.splits.attacked in ("reporting", "all") for setting in reported.settings)
    if all(setting.splits.attacked == "all" for setting in reported.settings):
        with pytest.raises(SystemExit, match="reports on all of its images"):
            study._spec(path, tmp_path, tune=True)
    else:
        tuned = load_spec(study._spec(path, tmp_path, tune=True)[0])
        assert tuned.seed == study.TUNING_SEED
        assert all(setting.splits.attacked == "tuning" for setting in tuned.settings)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_other_spec_is_valid(path):
    assert load_spec(path).attacks


def test_every_study_has_published_figures_beside_it():
    published = yaml.safe_load((BENCHMARKS / "published.yaml").read_text(encoding="utf-8"))
    assert {path.stem for path in STUDIES} == set(published)


def test_the_preset_is_held_against_the_published_values_but_for_their_steps():
    values, preset = load_spec(BENCHMARKS / "studies" / "preset.yaml").attacks
    assert values == replace(GradInversion.published(), steps=values.steps)
    assert preset == GradInversion()


def row(attack: str, trial: int, value: str, **changes: str) -> dict[str, str]:
    plain = {"setting": "s", "threat": "t", "defense": "none", "metric": "psnr", "better": "higher", "status": "ok"}
    return {
        **plain,
        "floor": "10.0",
        "guesser": "g",
        "n": "8",
        "attack": attack,
        "trial": str(trial),
        "value": value,
        **changes,
    }


def test_a_line_gains_what_its_trials_gain_over_those_of_the_line_before(study):
    rows = [row("plain", trial, value) for trial, value in enumerate(("11.0", "14.0", "12.0"))]
    rows += [row("better", trial, value) for trial, value in enumerate(("13.0", "16.5", "13.5"))]
    heading, _, first, second = study._table(rows)
    assert "PSNR, dB (floor)" in heading
    assert "12.33 (11.00 to 14.00) (10.00)" in first and first.endswith("|  |")
    assert "14.33" in second and "| 2.00 (1.50 to 2.50) |" in second


def test_a_trial_without_a_number_leaves_both_sides_of_the_gain(study):
    rows = [row("plain", 0, "11.0"), row("plain", 1, "30.0"), row("better", 0, "13.0")]
    rows += [row("better", 1, "", status="failed", floor="")]
    assert study._table(rows) and list(study._table(rows))[-1].endswith("| 2.00 |")


def test_settings_are_not_compared_with_each_other(study):
    rows = [row("plain", 0, "11.0"), row("plain", 0, "13.0", setting="other")]
    assert all(line.endswith("|  |") for line in list(study._table(rows))[2:])


@pytest.mark.parametrize("metric", ["label_accuracy", "identifiability(gallery=50)"])
def test_the_interval_of_a_share_is_that_of_the_reports_and_stays_within_zero_and_one(study, metric):
    rows = [row("some", trial, value, metric=metric) for trial, value in enumerate(("0.0", "0.0", "0.125", "0.25"))]
    rows += [row("all", trial, "1.0", metric=metric) for trial in range(4)]
    some, every = list(study._table(rows))[2:]
    assert "| 0.09 [0.01, 0.64] (10.00) |" in some
    assert "| 1.00 [0.40, 1.00] (10.00) |" in every  # four batches, however many labels each has


@pytest.fixture(scope="module")
def differences():
    described = importlib.util.spec_from_file_location("differences", BENCHMARKS / "differences.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def test_signs_are_turned_in_all_ways(differences):
    assert differences.sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8
    assert differences.sign_flip_p(np.array([1.0, -1.0])) == 1.0
    assert differences.sign_flip_p(np.array([3.0, -1.0])) == 1.0  # 4, 2, -2, -4: all at least as far as 2
    assert differences.sign_flip_p(np.array([0.2] * 6)) == 2 / 64
    with pytest.raises(ValueError, match="at most 20"):
        differences.sign_flip_p(np.ones(21))


def test_cells_are_paired_by_trial_where_they_differ_in_one_field_alone(differences):
    rows = pd.DataFrame(
        [
            ("a", "t", "none", "x", 0, 5.0),
            ("a", "t", "none", "x", 1, 7.0),
            ("b", "t", "none", "x", 1, 4.0),
            ("b", "t", "none", "x", 2, 9.0),
            ("b", "t", "none", "y", 1, 8.0),
        ],
        columns=[*differences.FIELDS, "trial", "value"],
    )
    ((shared, one, other, both),) = differences.pairs(rows, "setting")
    assert (shared, one, other, both.to_numpy().tolist()) == ("t, none, x", "a", "b", [[7.0, 4.0]])
    ((shared, one, other, both),) = differences.pairs(rows, "attack")
    assert (shared, one, other, both.to_numpy().tolist()) == ("b, t, none", "x", "y", [[4.0, 8.0]])
