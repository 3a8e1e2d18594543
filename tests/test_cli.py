"""The command line as a user types it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from seethrough.audit.cli import app, main
from tests.security.bombs import Called

SPEC = """
name: small
trials: 2
settings:
  - {name: digits, data: digits, model: lenet, batch_size: 2, labels: unique}
threats:
  - {name: curious, grants: [count, recipe]}
defenses: [none, {gaussian_noise: {std: 0.1}}]
attacks: [label_minimum, {inverting_gradients: {steps: 3}}, latent_prior]
metrics: [label_accuracy, psnr]
"""


def seethrough(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from seethrough.audit.cli import main; main()", *arguments]
    variables = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=240)


def typed(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """The same command in this process, which spares it the seconds of importing torch."""
    variables = {"NO_COLOR": "1", "COLUMNS": "200", **environment}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        patch.chdir(cwd)
        patch.setattr("sys.argv", ["seethrough", *arguments])
        patch.setattr("sys.path", [*sys.path])
        for name, value in variables.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stopped:
            main()
    return subprocess.CompletedProcess(arguments, stopped.value.code or 0, out.getvalue(), err.getvalue())


def rows(folder: Path, *dropped: str) -> list[dict]:
    with (folder / "results.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in dropped} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "spec.yaml").write_text(SPEC)
    done = seethrough("run", "spec.yaml", "--out", "out", "--workers", "1", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_run_leaves_tables_a_page_and_a_file_for_each_cell(finished):
    out = finished / "out"
    assert len(list((out / "cells").glob("*.json"))) == 2 * 3 * 2
    assert {"results.csv", "results.md", "index.html", "manifest.json"} <= {file.name for file in out.iterdir()}
    assert len(rows(out)) == 2 * 3 * 2 * 2


def test_an_attack_without_what_it_needs_is_a_cell_that_says_why(finished):
    notes = {row["note"] for row in rows(finished / "out") if row["attack"] == "latent_prior"}
    assert notes == {"needs `public`, which the threat model does not grant"}
    assert not (finished / "out/generators").exists()


def test_what_attacks_train_is_kept_with_the_run_and_taken_from_the_cache_the_next_time(tmp_path):
    spec = SPEC.replace("grants: [count, recipe]", "grants: [count, recipe, public]")
    spec = spec.replace("latent_prior]", "{latent_prior: {epochs: 2, steps: 2}}]").replace("trials: 2", "trials: 1")
    (tmp_path / "spec.yaml").write_text(spec)
    for out in ("first", "second"):
        done = typed("run", "spec.yaml", "--out", out, cwd=tmp_path, SEETHROUGH_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
        assert "losses and samples in" in done.stdout
    kept = [sorted((tmp_path / out / "generators").iterdir()) for out in ("first", "second")]
    assert [file.name for file in kept[0]] == [file.name for file in kept[1]]
    table = kept[0][0].read_text().splitlines()
    assert table[0].startswith("epoch,negative evidence lower bound") and len(table) == 3
    assert kept[0][1].read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_second_run_recomputes_nothing(finished):
    before = {file: file.stat().st_mtime_ns for file in (finished / "out/cells").iterdir()}
    csv_before = (finished / "out/results.csv").read_bytes()
    again = typed("run", "spec.yaml", "--out", "out", cwd=finished)
    assert again.returncode == 0
    assert "12 cells, 12 of them finished before" in again.stdout
    assert "privacy misconfigured: gaussian_noise(std=0.1): adds noise without clipping" in again.stderr
    page = (finished / "out/index.html").read_text()
    assert "adds noise without clipping" in page and "claims no bound: noise without clipping right before it" in page
    assert {file: file.stat().st_mtime_ns for file in (finished / "out/cells").iterdir()} == before
    assert (finished / "out/results.csv").read_bytes() == csv_before


def test_the_same_spec_gives_the_same_numbers_with_two_workers_and_in_another_folder(finished):
    done = seethrough(
        "run", "spec.yaml", "--out", "other", "--workers", "2", cwd=finished, PYTHONHASHSEED="7", TZ="Asia/Tokyo"
    )
    assert done.returncode == 0, done.stderr
    assert rows(finished / "other", "seconds") == rows(finished / "out", "seconds")


def test_a_killed_run_goes_on_to_the_same_numbers(finished):
    command = [
        sys.executable,
        "-c",
        "from seethrough.audit.cli import main; main()",
        "run",
        "spec.yaml",
        "--out",
        "killed",
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command, cwd=finished, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    cells, deadline = finished / "killed/cells", time.monotonic() + 120
    while time.monotonic() < deadline and len(list(cells.glob("*.json"))) < 3 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    survivors = {file.name: file.stat().st_mtime_ns for file in cells.glob("*.json")}
    assert 3 <= len(survivors) <= 12
    again = seethrough("run", "spec.yaml", "--out", "killed", cwd=finished)
    assert again.returncode == 0, again.stderr
    assert all((cells / name).stat().st_mtime_ns == moment for name, moment in survivors.items())
    assert rows(finished / "killed", "seconds") == rows(finished / "out", "seconds")


def test_an_interrupted_run_says_how_to_go_on(finished):
    command = [
        sys.executable,
        "-c",
        "from seethrough.audit.cli import main; main()",
        "run",
        "spec.yaml",
        "--out",
        "stopped",
        "--workers",
        "1",
    ]
    process = subprocess.Popen(
        command,
        cwd=finished,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((finished / "stopped").glob("cells/*.json")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command goes on" in errors and "Traceback" not in errors
    assert (finished / "stopped/index.html").is_file()


def test_a_damaged_cell_is_named_moved_aside_and_recomputed(finished):
    shutil.copytree(finished / "out", finished / "harmed")  # a folder of its own, whichever tests ran here before
    reference = rows(finished / "harmed", "seconds")
    file = sorted((finished / "harmed/cells").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-1])
    again = typed("run", "spec.yaml", "--out", "harmed", cwd=finished)
    assert again.returncode == 0
    assert file.name in again.stderr and "damaged" in again.stderr
    assert list((finished / "harmed/damaged").iterdir())
    assert rows(finished / "harmed", "seconds") == reference


def test_the_report_can_be_written_anew_from_the_folder(finished):
    (finished / "out/index.html").unlink()
    done = typed("report", "out", cwd=finished)
    assert done.returncode == 0
    assert (finished / "out/index.html").is_file()


def test_a_cell_that_breaks_is_failed_the_rest_goes_on_and_the_exit_code_says_so(finished):
    (finished / "broken_model.py").write_text(
        "import torch\n"
        "class Broken(torch.nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        if bool((x[:, 0, 0, 0] > 0).any()): raise RuntimeError('it broke')\n"
        "        return super().forward(x)\n"
        "def build(shape, classes):\n"
        "    return Broken(torch.nn.Flatten(), torch.nn.Linear(784, classes))\n"
    )
    spec = SPEC.replace("model: lenet", "model: 'broken_model:build'").replace(", latent_prior", "")
    spec = spec.replace("label_minimum", "label_sign").replace(
        "recipe]", "recipe, public]"
    )  # on which the model does not break
    (finished / "broken.yaml").write_text(spec)
    done = typed("run", "broken.yaml", "--out", "broken", "--workers", "1", cwd=finished)
    assert done.returncode == 1, done.stderr
    assert "4 of 8 cells failed" in done.stderr
    assert "failed: inverting_gradients(steps=3) against none, trial 0: RuntimeError: it broke" in done.stdout
    table = done.stdout.partition("failed cells")[2]
    assert (
        len(re.findall(r"broke\b", table)) == table.count("inverting_gradie") == 4
    )  # cells of the table may go on in the next line
    states = {(row["attack"], row["status"]) for row in rows(finished / "broken") if row["metric"] == "label_accuracy"}
    assert states == {("label_sign", "ok"), ("inverting_gradients(steps=3)", "failed")}
    kept = typed("run", "broken.yaml", "--out", "broken", "--workers", "1", cwd=finished)
    assert "8 cells, 8 of them finished before (4 failed; --retry-failed computes them again)" in kept.stdout
    assert "Traceback" not in kept.stderr


def test_a_cell_that_hangs_is_ended_named_and_fails_the_run_without_ending_it(finished):
    (finished / "hanging_model.py").write_text(
        "import threading, torch\n"
        "class Hanging(torch.nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        if bool((x[:, 0, 0, 0] > 0).any()): threading.Event().wait()\n"
        "        return super().forward(x)\n"
        "def build(shape, classes):\n"
        "    return Hanging(torch.nn.Flatten(), torch.nn.Linear(784, classes))\n"
    )
    spec = SPEC.replace("model: lenet", "model: 'hanging_model:build'").replace("trials: 2", "trials: 1")
    spec = re.sub(r"defenses: .*", "defenses: [none]", spec).replace("recipe]", "recipe, public]")
    (finished / "hanging.yaml").write_text(spec.replace("label_minimum", "label_sign").replace(", latent_prior", ""))
    done = typed("run", "hanging.yaml", "--out", "hanging", "--cell-timeout", "10", cwd=finished)
    assert done.returncode == 1, done.stderr
    assert "1 of 2 cells failed" in done.stderr
    why = "ran longer than 10 s, the limit for a cell, and was ended"
    assert f"inverting_gradients(steps=3) against none, trial 0: {why}" in done.stdout
    assert why in (finished / "hanging/index.html").read_text()
    states = {(row["attack"], row["status"]) for row in rows(finished / "hanging") if row["metric"] == "label_accuracy"}
    assert states == {("label_sign", "ok"), ("inverting_gradients(steps=3)", "failed")}


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--cell-timeout", "soon", "cell_timeout: found 'soon'; allowed: a time above zero, such as 90, 10m or 2h."),
        ("--memory-limit", "much", "memory_limit: found 'much'; allowed: a size of at least 100MB, below which no"),
        ("--memory-limit", "2", "memory_limit: found '2' (bytes); allowed: a size of at least 100MB, below which no"),
    ],
)
def test_a_limit_that_cannot_be_read_is_answered_with_one_sentence(finished, option, value, sentence):
    done = typed("run", "spec.yaml", "--out", "unread", option, value, cwd=finished)
    assert done.returncode == 2 and done.stderr.startswith(sentence) and len(done.stderr.splitlines()) == 1
    assert not (finished / "unread").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "missing.yaml"], "missing.yaml"),
        (["run", "bad.yaml"], "allowed"),
        (["run", "toolarge.yaml", "--out", "bad.yaml"], "found a file, bad.yaml; allowed: a folder"),
        (["run", "toolarge.yaml", "--out", "bad.yaml/x"], "found a file, bad.yaml; allowed: a folder"),
        (["report", "bad.yaml"], "found no manifest.json"),
        (["report", "nowhere"], "nowhere"),
        (["new", "bad.yaml"], "bad.yaml"),
        (["run", "unique.yaml"], "10"),
        (["run", "toolarge.yaml"], "too small"),
        (["run", "generator.yaml"], "nowhere:make"),
        (["run", "weights.yaml"], "settings[0]: w.pt: found a pickle of 'posix.system'; allowed: tensors by name"),
        (["list", "planets"], "planets"),
    ],
)
def test_bad_input_gets_a_sentence_and_exit_code_2(tmp_path, arguments, words):
    (tmp_path / "bad.yaml").write_text("name: x\ntrials: none\n")
    (tmp_path / "unique.yaml").write_text(SPEC.replace("batch_size: 2", "batch_size: 12"))
    (tmp_path / "toolarge.yaml").write_text(SPEC.replace("batch_size: 2, labels: unique", "batch_size: 500"))
    generator = "{latent_prior: {generator: 'nowhere:make', file: x.safetensors}}"
    (tmp_path / "generator.yaml").write_text(SPEC.replace("latent_prior", generator))
    (tmp_path / "weights.yaml").write_text(SPEC.replace("data: digits", "data: digits, weights: {file: w.pt}"))
    torch.save({"w": Called(os.system, "touch harmed")}, tmp_path / "w.pt")
    done = typed(*arguments, cwd=tmp_path)
    assert not (tmp_path / "harmed").exists()
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "audit-results").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--worker", "3"], "run: found the option --worker; allowed: --out, --workers, "),
        (["check", "x", "-z"], "check: found the option -z; allowed: --policy, --verbose, -v, --help."),
        (["reprot"], "found the command reprot; allowed: "),
        (["run", "--workers", "-1"], "run, --workers: found '-1'; allowed: a number of at least 0."),
        (["run", "--workers", "x"], "run, --workers: found 'x'; allowed: a whole number."),
        (["run", "--device", "gpu"], "run, --device: found 'gpu'; allowed: auto, cpu, cuda."),
        (["participation", "--dropout", "x"], "participation, --dropout: found 'x'; allowed: a number."),
        (["report", "x", "--also", "nope"], "report, --also: found 'nope'; allowed: tex, junit, parquet, pdf."),
        (["schema", "nope"], "schema, of: found 'nope'; allowed: spec, report."),
        (["run", "--out"], "--out: found no value behind it; allowed: one."),
        (["run", "--replace=3"], "--replace: found a value behind it; allowed: none."),
        (["report"], "report: found no directory; allowed: a folder that `seethrough run` wrote."),
        (["plan", "a", "b", "c"], "plan: found b c as well; allowed: spec."),
    ],
)
def test_a_mistake_in_a_command_is_answered_with_one_sentence(tmp_path, arguments, sentence):
    done = typed(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_was_meant_is_guessed(tmp_path):
    assert typed("reprot", cwd=tmp_path).stderr.endswith("; did you mean report?\n")
    assert typed("run", "--worker", "3", cwd=tmp_path).stderr.endswith("; did you mean --workers?\n")


def test_new_writes_a_spec_that_is_valid_and_schema_is_json(tmp_path):
    assert typed("new", "mine.yaml", cwd=tmp_path).returncode == 0
    from seethrough.audit.specification.file import load_spec

    load_spec(tmp_path / "mine.yaml")
    assert json.loads(typed("schema", cwd=tmp_path).stdout)["title"] == "AuditSpec"


@pytest.mark.parametrize(
    ("preset", "drawn"), [("update", None), ("cross-silo", 10), ("cross-device", 6), ("photographs", None)]
)
def test_new_writes_the_spec_of_the_preset_with_both_controls(preset: str, drawn: int | None, tmp_path: Path):
    from seethrough.audit.specification.defenses import defense_label
    from seethrough.audit.specification.file import load_spec

    app(["new", str(tmp_path / "mine.yaml"), "--preset", preset], standalone_mode=False)
    spec = load_spec(tmp_path / "mine.yaml")
    (setting,) = spec.settings
    assert {"none", "random_update"} <= {defense_label(each) for each in spec.defenses}
    assert spec.utility is not None or "# utility:" in (tmp_path / "mine.yaml").read_text()
    assert (setting.population.per_round if setting.population else None) == drawn


def test_list_names_every_entry_with_its_parameters(tmp_path):
    text = typed("list", cwd=tmp_path).stdout
    for word in ("gradinversion", "dp_sgd", "noise_multiplier", "resnet20", "torchvision", "lpips", "label_accuracy"):
        assert word in text


def test_a_plan_says_what_an_audit_takes_and_keeps_nothing(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    before = sorted(tmp_path.iterdir())
    said = typed("plan", "spec.yaml", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "small: 12 cells (4 of label_minimum, 4 of inverting_gradients(steps=3), 4 of latent_prior)." in said.stdout
    assert "not even a perfect attack could be called a leak by psnr: it needs 6" in said.stdout
    assert "not known before it is tried" in said.stdout
    timed = typed("plan", "spec.yaml", "--rehearse", "--workers", "1", cwd=tmp_path)
    assert re.search(r"About \d+ min \d\d s on 1 worker, by one trial of each combination", timed.stdout), timed
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("begun", "words"), [(False, "nothing was written to"), (True, "the same command goes on from there")]
)
def test_an_interrupt_says_that_a_run_goes_on_only_where_one_began(
    begun: bool, words: str, tmp_path: Path, monkeypatch, capsys
):
    """While data were read and nothing was written yet, it was said that what is finished is kept."""

    def interrupt(*_: object, **__: object) -> None:
        if begun:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "manifest.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr("seethrough.audit.run.run_audit", interrupt)
    monkeypatch.setattr("seethrough.audit.cli.shell.signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["seethrough", "run", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130 and words in " ".join(capsys.readouterr().err.split())
