"""What the tables and the page say of trainings: means, intervals, gaps, the Pareto front, the plot."""

import csv
import io
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seethrough.reports import Cell, Claim, Place, write_reports
from seethrough.reports.csv_tables import utility_csv
from seethrough.reports.findings.grid import read_blocks, read_grid
from seethrough.reports.findings.utility import pareto_front, tradeoffs, trainings
from seethrough.reports.parts.scatter import BOTTOM, LEFT, RIGHT, TOP, scatter
from tests.reports_samples import manifest, measured, place, score, utility
from tests.test_cli import rows, seethrough

CLAIM = Claim(3.25, 1e-5, "it is private")


def audit(leaks: dict[str, dict[str, float]], accuracies: dict[str, float | str], trials: int = 6):
    """So many trials of each attack through each defense, and two repeats of a training under each."""
    grid = [place(trial, attack, defense) for defense in leaks for attack in leaks[defense] for trial in range(trials)]
    plan = manifest(grid)
    runs = tuple(
        Place(f"{defense} {repeat}", "setting", "", defense, "training", repeat)
        for defense in accuracies
        for repeat in range(2)
    )
    cells = [measured(at, score(leaks[at.defense][at.attack] + 0.01 * at.trial)) for at in grid]
    for at in runs:
        found = accuracies[at.defense]
        if isinstance(found, str):
            cells.append(Cell(at.key, "n/a", found))
        else:
            claim = CLAIM if at.defense.startswith("dp") else None
            kept = utility(found + 0.02 * at.trial)
            cells.append(Cell(at.key, "ok", utility=kept, claim=claim, unclaimed="" if claim else "no noise"))
    return type(plan)(**{**vars(plan), "trainings": runs}), cells


def plots(plan, cells):
    return tradeoffs(read_blocks(read_grid(plan, cells)), trainings(plan, cells))


@pytest.fixture(scope="module")
def three():
    leaks = {name: {"weak": 0.1, "strong": leak} for name, leak in (("none", 0.9), ("dp", 0.2), ("noise", 0.5))}
    leaks["broken"] = {"weak": 0.1}
    return audit(leaks, {"none": 0.9, "dp": 0.7, "noise": 0.6, "broken": "BatchNorm forbids it"})


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0, 1), st.sampled_from([0, 1]) | st.floats(-1, 1)))
)
def test_the_pareto_front_is_what_no_other_point_dominates(points):
    def dominated(accuracy, leak):
        return any(a >= accuracy and b <= leak and (a, b) != (accuracy, leak) for a, b in points)

    assert pareto_front(points) == tuple(not dominated(*point) for point in points)


def test_the_strongest_attack_the_epsilon_and_the_front_stand_at_each_point(three):
    (plot,) = plots(*three)
    found = {point.defense: (point.attack, point.privacy, point.front) for point in plot.points}
    assert found == {
        "none": ("strong", "no bound", True),
        "dp": ("strong", "ε 3.250", True),
        "noise": ("strong", "no bound", False),
    }
    assert plot.left_out == ("broken, no accuracy",)
    assert plot.points[0].accuracy.mean == pytest.approx(0.91) and plot.points[0].accuracy.n == 2


def test_controls_and_what_could_not_be_tested_are_in_no_choice_between_defenses():
    leaks = {name: {"weak": leak} for name, leak in (("none", 0.9), ("dp", 0.2), ("random_update", 0.0))}
    accuracies = dict.fromkeys(leaks, 0.8)
    (plot,) = plots(*audit(leaks, accuracies))
    assert [point.defense for point in plot.points] == ["none", "dp"]
    assert plot.left_out == ("random_update, a control and no defense",)
    assert plots(*audit(leaks, accuracies, trials=2)) == ()
    plan, cells = audit(leaks, accuracies)
    few = [
        cell
        for cell in cells
        if not cell.scores or cell.key not in {at.key for at in plan.places if at.defense == "dp"}
    ]
    (plot,) = plots(plan, few + [cell for cell in cells if cell not in few][:2])
    assert plot.left_out[0] == "dp, whose leak could not be tested: inconclusive"


def test_a_training_that_could_not_be_is_named_with_its_reason(three):
    row = trainings(*three)[-1]
    assert row.accuracy is None and row.reason == "2 n/a: BatchNorm forbids it"


def test_an_interval_of_accuracy_stays_within_what_a_share_can_be():
    """Three trainings have none; what was seen stands in its place."""
    (row,) = trainings(*audit({"none": {"weak": 0.1}}, {"none": 0.97}))
    assert row.accuracy.low is None and 0.9 < row.accuracy.least < row.accuracy.most <= 1.0


def test_more_accurate_points_lie_further_right_and_leakier_ones_higher(three):
    (plot,) = plots(*three)
    drawn = scatter(plot)
    marks = {mark.point.defense: mark for mark in drawn.marks}
    assert LEFT < marks["noise"].x < marks["dp"].x < marks["none"].x < RIGHT
    assert BOTTOM > marks["dp"].y > marks["noise"].y > marks["none"].y > TOP
    corners = [tuple(map(float, corner.split(","))) for corner in drawn.front.split()]
    assert corners == [
        (marks["dp"].x, marks["dp"].y),
        (marks["dp"].x, marks["none"].y),
        (marks["none"].x, marks["none"].y),
    ]


@pytest.mark.parametrize("leak", [0.0, 1e-12, 1e9, -5.0])
def test_a_single_point_and_extreme_ones_are_drawn(leak):
    (plot,) = plots(*audit({"none": {"weak": leak}}, {"none": 0.5}))
    (mark,) = scatter(plot).marks
    assert LEFT <= mark.x <= RIGHT and TOP <= mark.y <= BOTTOM


def test_the_page_and_the_tables_show_it_all(three, tmp_path):
    write_reports(tmp_path, *three)
    page, markdown = (tmp_path / "index.html").read_text(), (tmp_path / "results.md").read_text()
    drawing = re.search(r'<svg class="scatter".*?</svg>', page, flags=re.DOTALL).group()
    assert drawing.count("<circle") == 3 and drawing.count('class="best"') == 2 and "<polyline" in drawing
    assert "2: ε 3.25" in drawing and "1: no bound" in drawing
    for text in (page, markdown):
        assert "BatchNorm forbids it" in text and "ε 3.25" in text and "4,000" in text


def test_utility_csv_has_one_row_a_number(three):
    found = list(csv.DictReader(io.StringIO(utility_csv(*three))))
    kept = {(row["defense"], row["repeat"], row["quantity"]): row for row in found}
    assert len(kept) == len(found)
    assert float(kept["none", "1", "accuracy"]["value"]) == 0.92
    assert float(kept["dp", "0", "epsilon"]["value"]) == 3.25 and ("none", "0", "epsilon") not in kept
    broken = kept["broken", "0", "accuracy"]
    assert (broken["value"], broken["status"], broken["note"]) == ("", "n/a", "BatchNorm forbids it")


def test_without_trainings_there_is_no_section_and_no_table(tmp_path):
    plan = manifest([place()])
    write_reports(tmp_path, plan, [measured(place(), score(0.5))])
    assert not (tmp_path / "utility.csv").exists()
    assert 'id="utility"' not in (tmp_path / "index.html").read_text()


SPEC = """
name: small
trials: 1
settings:
  - {name: digits, data: {digits: {size: 8}}, model: 'own:build', batch_size: 2, mode: train}
threats:
  - {name: curious}
defenses: [none, {gaussian_noise: {std: 1000.0}}, {dp_sgd: {noise_multiplier: 1.0, max_grad_norm: 1.0}}]
attacks: [label_minimum]
metrics: [label_accuracy]
utility: {rounds: 3, clients: 2, repeats: 2}
"""

MODEL = """
import torch
def build(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), Fussy(8, classes))
class Fussy(torch.nn.Linear):
    def forward(self, x):
        if self.weight.abs().max() > 10: raise RuntimeError('weights out of range')
        return super().forward(x)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "own.py").write_text(MODEL)
    return folder, seethrough("run", "spec.yaml", "--out", "out", "--workers", "2", cwd=folder)


def quantities(folder, *names):
    with (folder / "utility.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["quantity"] in names]
    return [{key: value for key, value in row.items() if key != "code"} for row in found]


def test_a_training_that_breaks_is_a_failed_row_and_one_that_cannot_be_is_not_applicable(finished):
    folder, done = finished
    assert done.returncode == 1 and "Traceback" not in done.stderr
    found = {row["defense"]: (row["status"], row["note"]) for row in quantities(folder / "out", "accuracy")}
    assert found["none"][0] == "ok"
    assert found["gaussian_noise(std=1000.0)"] == ("failed", "RuntimeError: weights out of range")
    status, note = found["dp_sgd(noise_multiplier=1.0, max_grad_norm=1.0)"]
    assert status == "n/a" and "BatchNorm layer `2`" in note
    assert "weights out of range" in (folder / "out/index.html").read_text()
    assert len(rows(folder / "out")) == 3


def test_going_on_trains_nothing_twice(finished):
    folder, _ = finished
    before = {file: file.stat().st_mtime_ns for file in (folder / "out/cells").iterdir()}
    again: subprocess.CompletedProcess = seethrough("run", "spec.yaml", "--out", "out", cwd=folder)
    assert "9 cells, 6 of them trainings, 9 of them finished before" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in (folder / "out/cells").iterdir()} == before


def test_one_lost_training_alone_is_trained_anew_to_the_same_numbers(finished):
    folder, _ = finished
    names = ("accuracy", "floor", "sent")
    before = quantities(folder / "out", *names)
    (folder / f"out/cells/{before[0]['key']}.json").unlink()
    again = seethrough("run", "spec.yaml", "--out", "out", "--workers", "1", cwd=folder)
    assert "9 cells, 6 of them trainings, 8 of them finished before" in again.stdout
    assert quantities(folder / "out", *names) == before
