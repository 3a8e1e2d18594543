"""Who computes cells: what a user may ask for, and that it changes no number."""

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from seethrough.audit.cells.compute import ChangedError, Computation
from seethrough.audit.cells.planned import PlannedComputation, case_at
from seethrough.audit.cells.store import Store, encode
from seethrough.audit.engine import LOCAL, Engine, engine_from, workers_for
from seethrough.audit.plan import make_plan
from seethrough.audit.specification.file import spec_of_text
from seethrough.common.errors import InputError
from tests.test_cli import typed
from tests.test_shards import SPEC


def test_the_engines_are_local_and_dask():
    assert engine_from("local", None) == LOCAL
    with pytest.raises(InputError, match=r"^--engine: found 'slurm'; allowed: local, dask\.$"):
        engine_from("slurm", None)
    with pytest.raises(
        InputError, match=r"^--scheduler: found 'tcp://a:1' with --engine local; allowed: with --engine"
    ):
        engine_from("local", "tcp://a:1")


def test_without_its_package_dask_is_refused_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        InputError, match=r"^--engine: found dask, but no package `distributed`; allowed: seethrough inst"
    ):
        engine_from("dask", None)


def test_a_scheduler_has_as_many_workers_as_it_has():
    assert workers_for(torch.device("cpu"), 1, Engine("dask", "tcp://a:1")) == 0
    assert workers_for(torch.device("cpu"), 1, Engine("dask")) == workers_for(torch.device("cpu"), 1) > 0


@pytest.mark.skipif(find_spec("distributed") is None, reason="needs the extra `dask`")
@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://127.0.0.1", "http://127.0.0.1:1", "tls://127.0.0.1:1", " "]
)
def test_a_scheduler_that_does_not_answer_is_said_in_a_sentence_before_anything_is_written(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("seethrough.audit.cells.cluster.connection.CONNECT", 0.5)
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = typed("run", "spec.yaml", "--out", "out", "--engine", "dask", "--scheduler", address, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("--scheduler: found ") and done.stderr.count("\n") == 1
    assert "allowed: " in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.skipif(find_spec("distributed") is None, reason="needs the extra `dask`")
def test_a_cluster_of_two_processes_leaves_what_local_processes_leave(tmp_path: Path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    for name, engine in (("local", "local"), ("cluster", "dask")):
        done = typed("run", "spec.yaml", "--out", name, "--workers", "2", "--engine", engine, cwd=tmp_path)
        assert done.returncode == 0 and "distributed" not in done.stderr, done.stderr
    assert (tmp_path / "local/manifest.json").read_bytes() == (tmp_path / "cluster/manifest.json").read_bytes()
    first, second = (timeless(tmp_path / name) for name in ("local", "cluster"))
    assert first == second and len(first) == 14
    assert not list((tmp_path / "cluster").rglob("*.tmp"))


def timeless(folder: Path) -> dict[str, bytes]:
    """The bytes of each cell, but for the seconds that it and its training took."""
    store, found = Store(folder), {}
    for key in store.cell_keys():
        cell = store.read(key)
        assert cell is not None and cell.status == "ok", cell
        utility = None if cell.utility is None else replace(cell.utility, seconds=0.0)
        found[key] = encode(replace(cell, seconds=0.0, utility=utility))
    return found


def test_a_place_of_a_spec_that_is_given_as_text_is_the_same_case_as_planned():
    spec = spec_of_text(SPEC, "spec.yaml")
    plan = make_plan(spec, torch.device("cpu"), 1)
    for place in plan.manifest.places + plan.manifest.trainings:
        assert case_at(spec, place) == plan.cases[place.key]
    place = plan.manifest.places[0]
    sent = PlannedComputation(SPEC, "spec.yaml", "cpu", "c0de", plan.environment)
    assert replace(sent(place), seconds=0.0) == Computation(plan.cases, "cpu", "c0de", plan.environment)(place)
    for changed in (replace(place, attack="other"), replace(place, trial=place.trial + 1)):
        with pytest.raises(ChangedError):
            sent(changed)
