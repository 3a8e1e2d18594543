"""Parts of a grid on machines that know nothing of each other, and what is made of them."""

import re
from collections import Counter
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from seethrough.audit.cells.finished import missing_cells
from seethrough.audit.cells.shards import Shard, shard_from
from seethrough.audit.cells.store import Store
from seethrough.audit.merge import merge
from seethrough.common.errors import InputError
from seethrough.reports import Cell, Manifest
from tests.reports_samples import kept, manifest, measured, place, score
from tests.test_cli import rows, typed
from tests.test_light_commands import without_torch

SPEC = """
name: sharded
trials: 3
settings:
  - {name: digits, data: digits, model: lenet, batch_size: 2, labels: unique}
threats:
  - {name: curious, grants: [count, recipe, public]}
defenses: [none, {gaussian_noise: {std: 0.1}}]
attacks: [label_sign, label_counts]
metrics: [label_accuracy]
utility: {clients: 2, rounds: 1, repeats: 1}
"""


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shards_share_out_all_cells_and_those_of_each_attack_alike(count: int):
    grid = [place(trial, f"attack {a}", f"defense {d}") for a in range(3) for d in range(2) for trial in range(7)]
    grid += [replace(grid[0], defense="another name of the first")]
    parts = [Shard(number, count).of(grid) for number in range(1, count + 1)]
    dealt = Counter(each.key for part in parts for each in part)
    assert set(dealt) == {each.key for each in grid} and set(dealt.values()) == {1}
    for named in ({each.attack for each in grid}, *({attack} for attack in {each.attack for each in grid})):
        sizes = [sum(each.attack in named for each in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.0/2", "٣/٤"])
def test_what_is_no_shard_is_refused_by_name(text: str):
    with pytest.raises(InputError, match=r"^--shard: found .*; allowed: which part of how many, from 1/20 to 20/20\.$"):
        shard_from(text)
    assert shard_from("3/20") == Shard(3, 20)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of the whole, and two of its halves."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "spec.yaml").write_text(SPEC)
    for name, options in (("whole", ()), ("first", ("--shard", "1/2")), ("second", ("--shard", "2/2"))):
        done = typed("run", "spec.yaml", "--out", name, "--workers", "1", *options, cwd=folder)
        assert done.returncode == (0 if options else done.returncode), done.stderr
        (folder / f"{name}.said").write_text(done.stdout)
    return folder


def timeless(file: Path) -> str:
    """A document without the seconds of its trainings."""
    return re.sub(r'"seconds": [0-9.e-]+|[0-9.e-]+ \| (?=no bound)', "", file.read_text())


def test_merged_shards_are_what_one_run_leaves(sharded: Path):
    done = typed("merge", "first", "second", "--out", "merged", cwd=sharded)
    assert "Traceback" not in done.stderr
    assert (sharded / "merged/manifest.json").read_bytes() == (sharded / "whole/manifest.json").read_bytes()
    assert timeless(sharded / "merged/results.md") == timeless(sharded / "whole/results.md")
    assert timeless(sharded / "merged/report.json") == timeless(sharded / "whole/report.json")
    assert rows(sharded / "merged", "seconds") == rows(sharded / "whole", "seconds")
    assert {path.name for path in (sharded / "merged").iterdir()} == {
        path.name for path in (sharded / "whole").iterdir()
    }


def test_a_shard_says_what_is_missing_and_gives_no_verdict(sharded: Path):
    said = (sharded / "first.said").read_text()
    assert "shard 1/2: 7 of 14 cells" in said
    assert "shard 1/2: 7 of its 7 cells are in first; no verdict before all are merged" in said
    assert "finding (value vs" not in said
    assert re.search(r"Partial: 7 of 14 cells not computed yet\.", (sharded / "first/index.html").read_text())
    again = typed("run", "spec.yaml", "--out", "first", "--workers", "1", "--shard", "1/2", cwd=sharded)
    assert "7 cells, 1 of them trainings, 7 of them finished before" in again.stdout


def audit(folder: Path, trials: range, value: float = 0.5, seconds: float = 1.0, **changes: object) -> Path:
    """A folder with the cells of some of four trials."""
    places = [place(trial) for trial in range(4)]
    planned: Manifest = replace(manifest(places), **changes)  # type: ignore[arg-type]
    return kept(folder, (planned, [measured(places[trial], score(value), seconds=seconds) for trial in trials]))


def merged(*folders: Path, out: Path) -> tuple[list[Cell], str]:
    """The cells, and what was said."""
    said = StringIO()
    return merge(folders, out, Console(file=said, width=400))[1], said.getvalue()


def test_a_cell_that_two_have_is_taken_from_the_first_whatever_time_it_took(tmp_path: Path):
    first, second = audit(tmp_path / "a", range(3)), audit(tmp_path / "b", range(1, 4), seconds=2.0)
    cells, said = merged(first, second, out=tmp_path / "out")
    assert [cell.seconds for cell in cells] == [1.0, 1.0, 1.0, 2.0] and said == ""
    for key in Store(first).cell_keys():
        assert Store(tmp_path / "out").path(key).read_bytes() == Store(first).path(key).read_bytes()
    assert merged(second, out=tmp_path / "out")[0] == cells, "what was merged before stays"


def test_a_cell_with_another_content_is_refused_by_name_and_nothing_is_written(tmp_path: Path):
    first, second = audit(tmp_path / "a", range(2)), audit(tmp_path / "b", range(1, 3), value=0.6)
    with pytest.raises(
        InputError, match=r"^.*b/cells/.*-1\.json: found another content than in .*a/cells/.*-1\.json; "
    ):
        merged(first, second, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_a_cell_that_failed_in_one_shard_the_other_ones_is_taken(tmp_path: Path):
    first, second = audit(tmp_path / "a", range(2)), audit(tmp_path / "b", range(1, 4))
    for folder, trial in ((first, 1), (second, 2)):
        key = Store(folder).cell_keys()[1]
        assert key.endswith(f"-{trial}")
        Store(folder).write(Cell(key, "failed", "ran longer than 9 s"))
    cells, _ = merged(first, second, out=tmp_path / "out")
    assert [cell.status for cell in cells] == ["ok", "ok", "failed", "ok"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hashes": (("data", "00"), ("code", "1"))}, r"another code \(1 instead of none\)"),
        ({"versions": (("python", "4"),)}, r"another python \(4 instead of 3\)"),
        ({"spec": "name: other"}, "another spec"),
        ({"seed": 5}, "another seed"),
    ],
)
def test_shards_of_another_audit_or_code_are_refused_by_name(tmp_path: Path, changes: dict, words: str):
    first, second = audit(tmp_path / "a", range(2)), audit(tmp_path / "b", range(2, 4), **changes)
    with pytest.raises(InputError, match=rf"^.*b: found {words} than in .*a; allowed: shards of one spec"):
        merged(first, second, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_cell_is_named_left_out_and_missing_in_the_report(tmp_path: Path):
    first, second = audit(tmp_path / "a", range(2)), audit(tmp_path / "b", range(2, 4))
    damaged = Store(first).path(Store(first).cell_keys()[0])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    cells, said = merged(first, second, out=tmp_path / "out")
    assert len(cells) == 3 and f"{damaged} is damaged" in said and "it is left out" in said
    assert "Partial: 1 of 4 cells not computed yet." in (tmp_path / "out/index.html").read_text()


def test_shards_are_merged_without_torch_and_not_into_one_of_them(tmp_path: Path):
    first, second = audit(tmp_path / "a", range(2)), audit(tmp_path / "b", range(2, 4))
    done = without_torch("merge", str(first), str(second), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    done = without_torch("merge", str(first), str(second), "--out", str(first))
    assert done.returncode == 2 and done.stderr.startswith(f"--out: found {first}, which is to be merged; allowed:")
    done = without_torch("merge", str(tmp_path / "none"), "--out", str(tmp_path / "other"))
    assert done.returncode == 2 and "found no manifest.json" in done.stderr


def test_places_of_one_cell_are_missing_once(tmp_path: Path):
    """Settings that differ in name alone share their cells."""
    places = [replace(place(trial, setting=name), key=f"k{trial}") for name in ("a", "b") for trial in range(3)]
    planned, cells = manifest(places), [measured(at, score(0.5)) for at in places[:2]]
    assert (
        missing_cells(planned, cells) == 1 and missing_cells(planned, [measured(at, score(0.5)) for at in places]) == 0
    )


def test_a_merge_that_lacks_cells_says_how_many_and_ends_with_one(sharded: Path):
    done = typed("merge", "first", "--out", "half", cwd=sharded)
    assert done.returncode == 1 and "7 cells of the audit in none of these shards" in done.stderr
