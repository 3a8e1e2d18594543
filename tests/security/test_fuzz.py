"""Mutated files of every format: a sound result or a UntrustedFileError, never anything else."""

import io
import random
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from seethrough.audit.untrusted import Document, UntrustedFileError
from tests.security.bombs import zipped
from tests.security.samples import READERS, samples

TELLING = [b"\x00", b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"9" * 30, b"-1", b"[" * 40]
TELLING += [b"{", b"}", b"(", b")", b",", b"'", b'"', b": ", b"\n", b"\t", b"&a ", b"*a", b"!!binary ", b"%", b"---\n"]


def mutants(parents: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Parents with one to four random edits each: bits, bytes, telling values, cuts, copies and joints."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(parents))
        for _ in range(rng.randint(1, 4)):
            at, length = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 4, 8, 30, 200])
            piece = bytes(data[at : at + length])
            other = rng.choice(parents)
            start = rng.randrange(len(other))
            data[at : at + rng.choice([0, length])] = rng.choice(
                [
                    bytes([byte ^ 1 << rng.randrange(8) for byte in piece[:1]]) + piece[1:],
                    rng.randbytes(len(piece)),
                    rng.choice(TELLING),
                    b"",
                    2 * piece,
                    other[start : start + length],
                ]
            )
            if rng.random() < 0.05:
                del data[at:]
            if not data:
                break
        yield bytes(data)


def put(path: Path, data: bytes) -> None:
    """Overwrite in place: to truncate to nothing first makes some file systems wait for the disk."""
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()


def assert_sound(result: object) -> None:
    """Fails unless the result is what a reader promises."""
    if isinstance(result, Document):
        assert_plain(result.data)
        assert all(
            1 <= line <= result.text.count("\n") + result.text.count("\r") + 99 for line in result.lines.values()
        )
    elif isinstance(result, np.ndarray):
        assert result.dtype == np.uint8 and result.ndim == 3 and result.shape[2] in (1, 3)
    else:
        assert isinstance(result, dict)
        for name, value in result.items():
            assert isinstance(name, str)
            if isinstance(value, np.ndarray):
                assert value.dtype.kind in "uif" and value.dtype.isnative and value.flags.c_contiguous
            else:
                assert value.layout == torch.strided and value.is_contiguous() and torch.isfinite(value.double()).all()


def assert_plain(data: object) -> None:
    if isinstance(data, dict):
        for key, value in data.items():
            assert type(key) is str
            assert_plain(value)
    elif isinstance(data, list):
        for value in data:
            assert_plain(value)
    else:
        assert type(data) in (str, int, float, bool, type(None))


@pytest.mark.parametrize("count", [5_000, pytest.param(50_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", READERS)
def test_a_mutated_file_is_refused_or_sound(tmp_path, measured, form, count):
    path, parents = tmp_path / f"file.{form}", samples()[form]
    path.touch()
    sound = refused = 0
    slowest = 0.0
    for mutant in mutants(parents, count, seed=len(form)):
        put(path, mutant)
        began = time.process_time()
        try:
            assert_sound(READERS[form](path))
            sound += 1
        except UntrustedFileError as error:
            assert str(error).startswith(str(path)) and "; allowed: " in str(error) and str(error).isprintable()
            refused += 1
        slowest = max(slowest, time.process_time() - began)
    measured(count, f"{form}: {sound} sound, {refused} refused, each within {slowest:.2f} s")
    assert refused > count / 10, "the mutants are too tame"
    assert slowest < 2


@pytest.mark.parametrize("form", READERS)
def test_every_truncation_of_a_file_is_refused_or_sound(tmp_path, form):
    path, whole = tmp_path / f"file.{form}", samples()[form][0]
    path.write_bytes(whole)
    assert_sound(READERS[form](path))
    for length in range(len(whole)):
        put(path, whole[:length])
        if form == "yaml":  # whose beginnings can be files in their own right
            try:
                assert_sound(READERS[form](path))
            except UntrustedFileError:
                continue
        else:
            with pytest.raises(UntrustedFileError, match="; allowed: "):
                READERS[form](path)


def test_a_mutated_pickle_in_a_sound_archive_is_refused_or_sound(tmp_path):
    path, torch_file = tmp_path / "file.pt", samples()["pt"][0]
    with zipfile.ZipFile(io.BytesIO(torch_file)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    path.touch()
    sound = refused = 0
    for mutant in mutants([members[pickled]], 5_000, seed=0):
        put(path, zipped({**members, pickled: mutant}))
        try:
            assert_sound(READERS["pt"](path))
            sound += 1
        except UntrustedFileError as error:
            assert str(error).startswith(str(path)) and "; allowed: " in str(error) and str(error).isprintable()
            refused += 1
    assert refused > 500 and sound > 50, "the mutants are too tame or too wild"
