"""What a release must pass: the changelog's version, archives without times, licenses that may stand beside ours."""

import gzip
import io
import tarfile

import pytest
from release.build import without_times
from release.changelog import unready
from release.supply import Package

CHANGELOG = "# Changelog\n\n## 1.2.0 ({})\n\n- New.\n\n## 1.1.0 (2026-01-01)\n"


@pytest.mark.parametrize(
    ("date", "version", "tags", "said"),
    [
        ("2026-12-01", "1.2.0", (), ()),
        ("unreleased", "1.2.0", (), ("found 1.2.0 (unreleased)",)),
        ("2026-12-01", "1.3.0", (), ("found 1.2.0 first; allowed: 1.3.0",)),
        ("2026-12-01", "1.2.0", ("v1.1.0", "v1.2.0"), ("version 1.2.0 has a tag already",)),
    ],
)
def test_a_version_is_released_once_under_a_date(date: str, version: str, tags: tuple[str, ...], said: tuple[str, ...]):
    found = unready(CHANGELOG.format(date), version, tags)
    assert len(found) == len(said) and all(words in sentence for words, sentence in zip(said, found, strict=True))


def archive(order: str, mtime: int, mode: int, owner: str) -> bytes:
    """A .tar.gz of the files a and b, in that order."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as file:
        for name in order:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode, member.uname = 1, mtime, mode, owner
            file.addfile(member, io.BytesIO(name.encode()))
    return gzip.compress(written.getvalue(), mtime=mtime)


def test_an_archive_does_not_tell_when_where_and_by_whom_it_was_built():
    one, other = archive("ab", 5, 0o644, "ann"), archive("ba", 7, 0o600, "bob")
    assert one != other and without_times(one, 9) == without_times(other, 9)
    with tarfile.open(fileobj=io.BytesIO(without_times(one, 9))) as file:
        assert [(each.name, each.mtime, file.extractfile(each).read()) for each in file] == [
            ("a", 9, b"a"),
            ("b", 9, b"b"),
        ]


@pytest.mark.parametrize(
    ("name", "license", "allowed"),
    [
        ("one", "MIT License", True),
        ("one", "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("one", "Apache-2.0 OR BSD-2-Clause", True),
        ("one", "GPL-3.0 OR MIT", True),
        ("one", "LGPLv3", True),
        ("one", "Mozilla Public License 2.0 (MPL 2.0)", True),
        ("one", "GPL-3.0", False),
        ("one", "GNU General Public License v3 (GPLv3)", False),
        ("one", "BSD License; GNU General Public License (GPL)", False),
        ("one", "MIT AND GPL-2.0", False),
        ("one", "UNKNOWN", False),
        ("one", "", False),
        ("one", "Limited License", False),
        ("nvidia-cublas", "LicenseRef-NVIDIA-Proprietary", True),
        ("other-nvidia", "LicenseRef-NVIDIA-Proprietary", False),
    ],
)
def test_a_license_is_allowed_by_each_of_its_parts(name: str, license: str, allowed: bool):
    assert Package(name, "1", license).allowed == allowed
