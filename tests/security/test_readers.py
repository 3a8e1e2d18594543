"""What the readers of foreign files make of sound ones."""

import argparse
import hashlib
import io
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from seethrough.audit.untrusted import (
    UntrustedFileError,
    check_tensors,
    read_image,
    read_npz,
    read_safetensors,
    read_tensors,
    read_yaml,
    sha256_of,
)
from tests.security import samples


def written(tmp_path, data: bytes | str):
    path = tmp_path / "file"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def yaml(tmp_path, text: str):
    return read_yaml(written(tmp_path, text)).data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1.5e+3", -1500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("007.5", 7.5),
        ("0", 0),
        ("+12", 12),
        ("-3", -3),
        ("9007199254740993", 2**53 + 1),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        *((text, text) for text in ("yes", "no", "on", "off", "y", "N", "tRue", "none", "None")),
        *((text, text) for text in ("2001-12-14", "2001-99-99", "2001-12-14t21:59:43.10-05:00", "12:30:45")),
        *((text, text) for text in ("010", "0x1f", "0b1", "0o7", "1_000", "1e", "e5", "1.2.3", "-a", "<<", "=", ".")),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  1\n", "1\n"),
        ("[]", []),
        ("{}", {}),
        ("&anchor 1", 1),
    ],
)
def test_a_plain_yaml_value_has_one_meaning(tmp_path, text, value):
    found = yaml(tmp_path, f"key: {text}\n")["key"]
    assert (type(found), repr(found)) == (type(value), repr(value))


def test_not_a_number_is_a_float(tmp_path):
    assert math.isnan(yaml(tmp_path, ".nan"))


def test_yaml_lines_are_those_of_keys_and_items(tmp_path):
    text = "# c\nname: x\nsettings:\n  - data: digits\n    model:\n      name: y\n  -\n    - 1\n    - [2,\n       3]\n"
    document = read_yaml(written(tmp_path, text))
    lines = text.splitlines()
    assert document.text == text
    assert document.data == {
        "name": "x",
        "settings": [{"data": "digits", "model": {"name": "y"}}, [1, [2, 3]]],
    }
    for location, shown in {
        ("name",): "name: x",
        ("settings",): "settings:",
        ("settings", 0): "  - data: digits",
        ("settings", 0, "model"): "    model:",
        ("settings", 0, "model", "name"): "      name: y",
        ("settings", 1): "    - 1",
        ("settings", 1, 1, 1): "       3]",
    }.items():
        assert lines[document.line(location) - 1] == shown
    assert document.line(()) == 2
    assert document.line(("settings", 2)) is None


@pytest.mark.parametrize(
    "text",
    ["[" * 32 + "]" * 32, "{a: " * 31 + "1" + "}" * 31, "- a\n" * 19_999, "# " + "x" * (2**18 - 2), "9" * 300, "1e308"],
    ids=["lists", "mappings", "values", "bytes", "digits", "float"],
)
def test_yaml_at_the_limits_is_read(tmp_path, text):
    yaml(tmp_path, text)


def test_an_archive_and_an_image_at_the_limits_are_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", black=np.zeros(60 * 2**20, np.uint8))
    assert read_npz(tmp_path / "a.npz")["black"].shape == (60 * 2**20,)
    Image.new("L", (2**12, 2**12)).save(tmp_path / "a.png", compress_level=1)
    assert read_image(tmp_path / "a.png").shape == (2**12, 2**12, 1)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff# marked\n"])
def test_an_empty_yaml_file_holds_nothing(tmp_path, text):
    assert yaml(tmp_path, text) is None


def test_the_sample_yaml_reads_as_it_looks(tmp_path):
    data = yaml(tmp_path, samples.YAML)
    assert data["name"] == "which defense \u00e9"
    assert data["settings"][0] == {"name": "one", "data": "digits", "batch_size": 8, "lr": 0.001, "flag": True}
    assert data["settings"][1]["note"] == "several\nlines\n"
    assert data["threats"] == ["honest but curious", "quoted 'text'", "2001-12-14", "12:30:45"]
    assert data["defenses"][2][0] == {"clipping": {"max_norm": -50.0}}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_return_as_numpy_wrote_them(tmp_path, save):
    rng, shapes = np.random.default_rng(0), [(), (0,), (5,), (2, 3), (0, 7), (2, 1, 3, 4)]
    kinds = ["u1", "i1", "<u2", ">u2", "<i4", ">i4", "<i8", ">i8", "<f2", "<f4", ">f4", "<f8"]
    arrays = {f"{k}{s}": (rng.normal(size=s) * 9).astype(k) for k in kinds for s in shapes}
    arrays["columns first"] = np.asfortranarray(rng.normal(size=(3, 4)))
    arrays["long enough for several chunks"] = rng.integers(0, 99, 700_000)
    path = tmp_path / "arrays.npz"
    save(path, **arrays)
    found = read_npz(path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].dtype.isnative and found[name].flags.c_contiguous and found[name].flags.writeable
        torch.from_numpy(found[name])


def test_an_array_header_of_each_version_is_read(tmp_path):
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    for version in ((1, 0), (2, 0), (3, 0)):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, array, version=version)
        np.testing.assert_array_equal(read_npz(written(tmp_path, zipped({"a.npy": buffer.getvalue()})))["a"], array)


def zipped(members: dict[str, bytes]) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_tensors_return_as_safetensors_wrote_them(tmp_path):
    tensors = {**samples.tensors(), "empty": torch.zeros(0, 3), "scalar": torch.tensor(1.5, dtype=torch.float64)}
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"note": "x"})
    found = read_safetensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype
    check_tensors(found, tensors, path)


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(
        tensor.dtype == expected[name].dtype and tensor.is_contiguous() and torch.equal(tensor, expected[name])
        for name, tensor in found.items()
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_return_as_torch_saved_them_and_as_torch_loads_them(tmp_path, protocol):
    rng = torch.Generator().manual_seed(0)
    kinds = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    shapes = [(), (0,), (0, 7), (5,), (2, 3), (2, 1, 3, 4)]
    tensors = {f"{k}{s}": (torch.randn(s, generator=rng) * 9).to(getattr(torch, k)) for k in kinds for s in shapes}
    whole = torch.randn((4, 6), generator=rng)
    tensors |= {
        "part": whole[1:3, 2:5],
        "columns first": whole.t(),
        "tied": whole,
        "parameter": torch.nn.Parameter(whole[0]),
    }
    tensors["channels last"] = torch.randn((2, 3, 4, 5), generator=rng).to(memory_format=torch.channels_last)
    path = tmp_path / "w.pt"
    torch.save(tensors, path, pickle_protocol=protocol)
    found = read_tensors(path)
    assert equal(found, tensors)
    assert not any(tensor.requires_grad for tensor in found.values())
    if protocol == 2:
        loaded = torch.load(path, weights_only=True, map_location="cpu")
        assert equal(found, loaded)


def test_the_state_dict_of_a_module_is_read_without_its_notes(tmp_path):
    state = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).state_dict()
    assert state._metadata  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "w.pt")
    assert equal(read_tensors(tmp_path / "w.pt"), dict(state))


@pytest.mark.parametrize("kind", [list, tuple])
def test_tensors_with_an_order_only_are_named_by_it(tmp_path, kind):
    tensors = [torch.full((place + 1,), float(place)) for place in range(12)]
    torch.save(kind(tensors), tmp_path / "u.pt")
    np.savez(tmp_path / "u.npz", *(tensor.numpy() for tensor in tensors))
    expected = {str(place): tensor for place, tensor in enumerate(tensors)}
    assert equal(read_tensors(tmp_path / "u.pt"), expected)
    assert equal(read_tensors(tmp_path / "u.npz"), expected)


def test_tensors_are_known_by_content_whatever_the_file_is_called(tmp_path):
    tensors = {"a": torch.ones(2), "b": torch.zeros(1)}
    safetensors.torch.save_file(tensors, tmp_path / "w.pt")
    np.savez(tmp_path / "w.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    (tmp_path / "w.npz").rename(tmp_path / "w.bin")
    torch.save(tensors, tmp_path / "w.safetensors")
    for name in ("w.pt", "w.bin", "w.safetensors"):
        assert equal(read_tensors(tmp_path / name), tensors)


def test_settings_beside_a_state_dict_are_passed_over(tmp_path):
    beside = {
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "best": np.float64(0.5),
        "curve": np.ones(3),
        "counts": Counter("abc"),
        "device": torch.device("cpu"),
        "rng": torch.get_rng_state(),
        "seen": {1, 2},
    }
    torch.save({**beside, "model_state_dict": {"w": torch.ones(2)}}, tmp_path / "w.pt")
    assert equal(read_tensors(tmp_path / "w.pt"), {"w": torch.ones(2)})


def test_tensors_that_do_not_fit_are_named_in_one_sentence():
    expected = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1), "d": torch.zeros(1, dtype=torch.int64)}
    found = {"a": torch.zeros(2), "b": torch.zeros(4), "x": torch.zeros(1), "d": torch.zeros(1)}
    with pytest.raises(UntrustedFileError) as refused:
        check_tensors(found, expected, "w.safetensors")
    assert str(refused.value) == (
        "w.safetensors: found no 'c'; an unexpected 'x'; 'b' as float32 [4] where the network has float32 [3]; "
        "'d' as float32 [1] where the network has int64 [1]; "
        "allowed: the 4 tensors of the network, with their shapes and types."
    )


def test_many_tensors_that_do_not_fit_are_counted():
    many = {f"t{i}": torch.zeros(1) for i in range(500)}
    with pytest.raises(UntrustedFileError, match=r"no 't0', 't1', 't2' and 497 more; allowed") as refused:
        check_tensors({}, many, "w.safetensors")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (1, 1)])
def test_pixels_return_as_they_were(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    found = read_image(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels.reshape(*shape[:2], -1))


def test_the_orientation_in_exif_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (2, 4, 3)


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_the_hash_is_that_of_the_content(tmp_path, size):
    data = os.urandom(size)
    assert sha256_of(written(tmp_path, data)) == hashlib.sha256(data).hexdigest()


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(written(tmp_path, "a: 1"))
    assert read_yaml(tmp_path / "link").data == {"a": 1}
