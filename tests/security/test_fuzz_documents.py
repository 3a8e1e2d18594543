"""Documents whose values were changed, one by one, for others: a sound result or an InputError, never anything else.

The bytes are well-formed, and the files of a run carry the right hash, so that what is tried is what comes after the readers.
On the day that they were written they found a manifest whose keys were no names and a share of no images, both tracebacks.
"""

import copy
import csv
import hashlib
import io
import itertools
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import seethrough
from seethrough.audit.cli import app
from seethrough.audit.participation import participation, schedule_in
from seethrough.audit.policy import load_policy
from seethrough.audit.recordings.read import read_recording
from seethrough.audit.specification.file import spec_from
from seethrough.audit.untrusted import read_yaml
from seethrough.common.errors import InputError
from tests.reports_samples import kept, png, with_text

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 0.0, -0.5, 5e-324, 1e308, -1e308]
TEXTS = [
    "",
    "0",
    "none",
    "ok",
    "n/a",
    "\x1b[31m",
    "a" * 3000,
    "\u202e",
    "../../x",
    "/dev/null",
    "<b>",
    "=1+1",
    "mine:build",
]
VALUES = [None, True, False, *NUMBERS, *TEXTS, [], {}, [None], [[]], {"": None}, {"none": None}, {"x": {"y": {}}}]
VALUES.append(["none"] * 300)


def places_in(document: Any, so_far: tuple = ()) -> Iterator[tuple]:
    """Where there are values, but for the whole."""
    children = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in children:
        yield (*so_far, key)
        yield from places_in(value, (*so_far, key))


def changed(document: Any, rng: random.Random, of_one_type: bool = False) -> Any:
    """The document with one to four of its values changed, dropped or doubled; `of_one_type`: for others of their type."""
    found = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 2, 4])):
        *above, last = rng.choice(list(places_in(found)) or [("nothing",)])
        try:
            parent = found
            for key in above:
                parent = parent[key]
            value = parent[last]
        except (KeyError, IndexError, TypeError):
            continue
        if of_one_type:
            alike = [each for each in VALUES if type(each) is type(value)]
            parent[last] = (
                rng.choice([value[::2], 2 * value]) if isinstance(value, list) else rng.choice(alike or [value])
            )
        elif rng.random() < 0.15:
            del parent[last]
        else:
            parent[last] = copy.deepcopy(rng.choice([*VALUES, document]))
    return found


def tried(count: int, seed: int, attempt: Callable[[random.Random], object]) -> tuple[int, int]:
    """How many of so many attempts were sound, and how many refused, each within two seconds and in printable words."""
    rng, sound, refused = random.Random(seed), 0, 0
    for _ in range(count):
        began = time.process_time()
        try:
            attempt(rng)
            sound += 1
        except InputError as error:
            assert all(line.isprintable() for line in str(error).splitlines()), repr(str(error))
            refused += 1
        assert time.process_time() - began < 2
    return sound, refused


COUNTS = pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.slow)])


@COUNTS
def test_a_changed_spec_is_refused_or_sound(count: int, measured: Callable):
    files = [
        *(ROOT / "benchmarks").glob("*.yaml"),
        *(ROOT / "examples").glob("*.yaml"),
        ROOT / "audit" / "default.yaml",
    ]
    documents = [read_yaml(file).data for file in files if file.name != "published.yaml"]
    sound, refused = tried(count, 0, lambda rng: spec_from(changed(rng.choice(documents), rng)))
    measured(count, f"specs: {sound} sound, {refused} refused")
    assert sound > count / 100 and refused > count / 2


@COUNTS
def test_a_changed_policy_is_refused_or_sound(count: int, measured: Callable, tmp_path: Path):
    document = read_yaml(ROOT / "reports" / "gate" / "strict.yaml").data

    def attempt(rng: random.Random) -> None:
        (tmp_path / "policy.yaml").write_text(json.dumps(changed(document, rng)))
        load_policy(str(tmp_path / "policy.yaml"))

    sound, refused = tried(count, 1, attempt)
    measured(count, f"policies: {sound} sound, {refused} refused")
    assert refused > count / 2


@COUNTS
def test_a_changed_recording_is_refused_or_sound(count: int, measured: Callable, tmp_path: Path):
    before, after = ({"w": torch.full((3, 4), value), "b": torch.full((3,), value)} for value in (0.0, 1.0))
    recipe = {"lr": 0.1, "epochs": 1, "batch_size": 2}
    seethrough.record(tmp_path / "r", before, after, examples=4, shape=(1, 2, 2), classes=3, recipe=recipe)
    facts = tmp_path / "r" / "recording.json"
    document = json.loads(facts.read_text())

    def attempt(rng: random.Random) -> None:
        facts.write_text(json.dumps(changed(document, rng)))
        read_recording(tmp_path / "r")

    sound, refused = tried(count, 2, attempt)
    measured(count, f"recordings: {sound} sound, {refused} refused")
    assert sound > count / 20 and refused > count / 2


@COUNTS
def test_a_changed_schedule_is_refused_or_sound(count: int, measured: Callable, tmp_path: Path):
    rows = [["round", "client"], ["1", "a"], ["1", "b"], ["2", "a"], ["3", "c"], ["3", "a"]]

    def attempt(rng: random.Random) -> None:
        written = io.StringIO()
        csv.writer(written).writerows([map(str, row) for row in changed(rows, rng, of_one_type=True)])
        (tmp_path / "who.csv").write_text(written.getvalue())
        participation(schedule_in(tmp_path / "who.csv"), "who.csv")

    sound, refused = tried(count, 3, attempt)
    measured(count, f"schedules: {sound} sound, {refused} refused")
    assert sound > count / 20 and refused > count / 20


@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ["report", "check", "compare", "redact"])
def test_a_changed_run_is_refused_or_sound(
    command: str, count: int, measured: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Files of the right hash, as somebody would write them who wants to."""
    names = (f"name{number}" for number in itertools.count())
    kept(tmp_path / "run", with_text(lambda: next(names), png()))
    files = [tmp_path / "run" / "manifest.json", *(tmp_path / "run" / "cells").glob("*.json")]
    documents = [json.loads(file.read_bytes()[65:]) for file in files]
    more = {"compare": [str(tmp_path / "run")]}.get(command, [])

    def attempt(rng: random.Random) -> None:
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        shutil.copytree(tmp_path / "run", tmp_path / "other")
        chosen = rng.randrange(len(files))
        content = changed(documents[chosen]["content"], rng, of_one_type=True)
        body = json.dumps({**documents[chosen], "content": content}).encode()
        hashed = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
        (tmp_path / "other" / files[chosen].relative_to(tmp_path / "run")).write_bytes(hashed)
        try:
            app([command, str(tmp_path / "other"), *more], standalone_mode=False)
        except SystemExit as ended:
            assert ended.code in (1, 3, 4, 5)

    sound, refused = tried(count, 4, attempt)
    shown = capsys.readouterr()
    measured(count, f"{command}: {sound} sound, {refused} refused")
    assert "Traceback" not in shown.out + shown.err and sound > count / 20
