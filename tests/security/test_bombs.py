"""Hostile files are refused, at once and within little memory, by what they declare."""

import re
import socket
import sys
import time
import warnings
from pathlib import Path

import pytest

from seethrough.audit.untrusted import (
    UntrustedFileError,
    read_image,
    read_npz,
    read_yaml,
    sha256_of,
)
from seethrough.audit.untrusted.safetensors import read_safetensors
from seethrough.audit.untrusted.tensors import read_tensors
from tests.security import bombs
from tests.security.samples import READERS

MEBIBYTE = 2**20
CORPORA = {
    read_npz: bombs.NPZ,
    read_safetensors: bombs.SAFETENSORS,
    read_tensors: bombs.TORCH,
    read_image: bombs.IMAGES,
    read_yaml: bombs.YAML,
}
CORPUS = [
    pytest.param(reader, reason, maker, id=f"{reader.__name__}: {name}")
    for reader, corpus in CORPORA.items()
    for reason, makers in corpus.items()
    for name, maker in makers.items()
]


class Peak:
    """The most bytes that this process has held since now, above what it holds now."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._start = self._read()

    def bytes(self) -> int:
        return self._read() - self._start

    def _read(self) -> int:
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by Linux's /proc")
@pytest.mark.parametrize(("reader", "reason", "maker"), CORPUS)
def test_a_bomb_is_refused_at_once_and_for_what_it_is(tmp_path, reader, reason, maker):
    path = tmp_path / "file.png"
    maker(path)
    peak, began = Peak(), time.process_time()
    with warnings.catch_warnings(), pytest.raises(UntrustedFileError) as refused:
        warnings.simplefilter("error")
        reader(path)
    assert time.process_time() - began < 4
    assert peak.bytes() < 64 * MEBIBYTE
    message = str(refused.value)
    assert message.startswith(str(path)) and reason in message.partition(": found ")[2].partition("; allowed: ")[0]
    assert len(message) < len(str(path)) + 400 and message.isprintable()


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(CORPUS) + len(bombs.NO_FILES) >= 120


@pytest.mark.parametrize("reader", [*dict.fromkeys(READERS.values()), sha256_of], ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("maker", bombs.NO_FILES.values(), ids=bombs.NO_FILES)
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, reader, maker):
    maker(tmp_path / "file")
    with pytest.raises(UntrustedFileError, match=r"found no re(gular|adable) file.*allowed: regular files"):
        reader(tmp_path / "file")


@pytest.mark.parametrize(
    "reader", [read_npz, read_safetensors, read_tensors, read_image], ids=lambda reader: reader.__name__
)
def test_an_empty_file_is_refused(tmp_path, reader):
    (tmp_path / "file").touch()
    with pytest.raises(UntrustedFileError):
        reader(tmp_path / "file")


@pytest.mark.parametrize("reader", [*dict.fromkeys(READERS.values()), sha256_of], ids=lambda reader: reader.__name__)
def test_a_path_that_cannot_be_a_file_is_refused(tmp_path, reader):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "socket", "a\0b", "a" * 5000, ""):
            with pytest.raises(UntrustedFileError):
                reader(path)
