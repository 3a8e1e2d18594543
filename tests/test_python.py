"""Audits from Python: what `seethrough.audit` takes and returns, in a script and in a notebook."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import seethrough
from seethrough.audit.api import default_spec
from seethrough.audit.specification.file import load_spec, spec_of_text

SETTING = {"name": "digits", "data": {"digits": {"size": 8}}, "model": "convnet", "batch_size": 2, "labels": "unique"}
SPEC = {
    "name": "small",
    "trials": 2,
    "settings": [SETTING],
    "threats": [{"name": "server", "grants": ("count", "recipe", "public")}],
    "defenses": ["none"],
    "attacks": ["label_counts"],
    "metrics": ["label_accuracy"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> seethrough.Results:
    return seethrough.audit(SPEC, tmp_path_factory.mktemp("python") / "out", workers=1, quiet=True)


def test_the_table_is_the_csv_and_the_page_is_there(results):
    with (results.directory / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(results.table.columns) == list(rows[0])
    assert results.table["value"].tolist() == [float(row["value"]) for row in rows]
    assert results.page.read_text().startswith("<!doctype html>") or "<html" in results.page.read_text()
    assert len(results.cells) == 2 and all(cell.status == "ok" for cell in results.cells)
    assert results.verdict in results.page.read_text()
    assert repr(results) == f"<Results in {results.directory}: {results.verdict}>"


def test_results_can_be_read_again_and_are_not_computed_twice(results, capsys):
    read = seethrough.Results.read(results.directory)
    assert read.verdict == results.verdict and read.table.equals(results.table)
    again = seethrough.audit(SPEC, results.directory, workers=1)
    assert "2 of them finished before" in capsys.readouterr().out
    assert again.cells == results.cells and len(again.measured) == 2


def test_a_dict_a_spec_and_a_file_are_the_same_audit(results, tmp_path, capsys):
    spec = seethrough.spec(SPEC)
    (tmp_path / "spec.yaml").write_text(spec.text)
    for given in (spec, str(tmp_path / "spec.yaml"), tmp_path / "spec.yaml"):
        seethrough.audit(given, results.directory, workers=1)
        assert "2 of them finished before" in capsys.readouterr().out
    assert load_spec(tmp_path / "spec.yaml").settings == spec.settings


def test_keywords_come_last_and_nothing_is_the_default_audit():
    assert seethrough.spec(SPEC, trials=7).trials == 7
    assert default_spec().source == "the default audit"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trials": "3"}, 'the spec, trials: found "3"; allowed: a whole number.'),
        ({"attacks": ["dgl"]}, "did you mean dlg?"),
        ({"settings": [SETTING | {"batch_size": object()}]}, "the spec, settings[0].batch_size: found <object"),
        ({"trials": float("nan")}, "the spec, trials: found nan of type float; allowed: finite numbers"),
        ({"settings": {1: 2}}, "the spec, settings: found {1: 2} of type dict"),
        ({"defenses": "none"}, 'the spec, defenses: found "none"; allowed: a list, such as [none].'),
        (
            {"settings": [SETTING | {"model": "build"}]},
            "alone or as `name: {parameters}`, or your own as package.module",
        ),
        (
            {"settings": [SETTING | {"model": print}]},
            "allowed: a function or module of yours by its name, as package.module",
        ),
    ],
)
def test_mistakes_get_the_sentences_of_a_file(changes, sentence):
    with pytest.raises(seethrough.InputError, match=re.escape(sentence)):
        seethrough.spec(SPEC | changes)


@pytest.mark.parametrize("name", ["1e-3", "1.e5", "a\x85b"])
def test_the_text_of_a_spec_says_what_it_was_made_of(name: str):
    spec = seethrough.spec(SPEC | {"name": name})
    assert spec_of_text(spec.text, spec.source) == spec


def test_a_spec_that_was_changed_after_it_was_made_is_not_run_under_the_former_text(tmp_path):
    changed = seethrough.spec(SPEC).model_copy(update={"trials": 7})
    with pytest.raises(seethrough.InputError, match="the spec: found one that was changed after it was made"):
        seethrough.audit(changed, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_mistake_that_shows_only_with_the_data_is_one_sentence_too(tmp_path):
    with pytest.raises(
        seethrough.InputError, match=re.escape("the spec, settings[0].batch_size: found 12 with unique labels")
    ):
        seethrough.audit(SPEC | {"settings": [SETTING | {"batch_size": 12}]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refuted_guarantee_and_failed_cells_are_warned_of(results, monkeypatch):
    assert results.problems == ()
    failed = tuple(replace(cell, status="failed", note="broke") for cell in results.cells)
    monkeypatch.setattr("seethrough.audit.api.refutation", lambda rows: "1 guarantee refuted")
    monkeypatch.setattr("seethrough.audit.api.run_audit", lambda *given, **named: (results.manifest, failed))
    with pytest.warns(RuntimeWarning) as warned:
        broken = seethrough.audit(SPEC, results.directory)
    assert broken.problems == ("1 guarantee refuted", "2 of 2 cells failed; the report names them")
    assert [str(each.message) for each in warned] == list(broken.problems)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"spec": 7}, "the spec: found 7 of type int; allowed: a dict, the path of a YAML file"),
        ({"spec": [SPEC]}, "of type list; allowed: a dict"),
        ({"spec": "no.yaml"}, "no.yaml: found no readable file"),
        ({"spec": SPEC, "out": None}, "the folder: found None of type NoneType; allowed: text or a path."),
        ({"spec": SPEC, "out": "file"}, "file: found a file, file; allowed: a folder, or a name that is free."),
        ({"spec": SPEC, "out": "file/x"}, "file/x: found a file, file; allowed: a folder"),
        ({"spec": SPEC, "workers": -1}, "workers: found -1; allowed: a whole number of at least 0."),
        ({"spec": SPEC, "threads": "1"}, "threads: found '1'; allowed: a whole number of at least 1."),
        ({"spec": SPEC, "device": "gpu"}, "device: found 'gpu'; allowed: auto, cpu, cuda."),
    ],
)
def test_what_an_audit_cannot_be_run_with_is_one_sentence(given, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(seethrough.InputError, match=re.escape(sentence)):
        seethrough.audit(**given)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("folder", ["nowhere", ".", "file"])
def test_results_that_are_not_there_are_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(
        seethrough.InputError, match=r"found no manifest.json; allowed: a folder that `seethrough run` wrote"
    ):
        seethrough.Results.read(folder)


@pytest.mark.filterwarnings("ignore")
def test_in_a_notebook_progress_and_the_page_show_in_place(tmp_path):
    cells = [
        f"import seethrough\nresults = seethrough.audit({SPEC!r}, 'out', workers=1)",
        "results",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    running, shown = notebook.cells
    assert any("2 of 2 cells" in output.get("data", {}).get("text/plain", "") for output in running.outputs)
    assert "<iframe srcdoc=" in shown.outputs[0]["data"]["text/html"]
    assert (Path(tmp_path) / "out" / "index.html").exists()
