"""What the readers of foreign files make of sound ones."""

import argparse
import hashlib
import io
import math
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from seethrough.audit.untrusted import (
    UntrustedFileError,
    parse_yaml,
    read_image,
    read_npz,
    read_yaml,
    sha256_of,
    written_yaml,
)
from seethrough.audit.untrusted.safetensors import check_tensors, read_safetensors
from seethrough.audit.untrusted.tensors import read_tensors
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


text = st.text(max_size=12) | st.from_regex(r"[-+.~0-9eE_: #'\"\\nNulTrFas]{1,12}", fullmatch=True)
leaves = st.none() | st.booleans() | st.integers(-(10**290), 10**290) | st.floats(allow_nan=False) | text
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


@settings(max_examples=300, deadline=None)
@given(values)
@example({"1e-3": ["1e-3", 1e-3, "1.e5", "\x85", "1" * 5_000, "long " * 60, "", " a", "yes", 1e22]})
def test_yaml_that_we_write_reads_as_what_was_written(value):
    assert repr(parse_yaml(written_yaml(value), "there").data) == repr(value)


def test_yaml_of_one_list_in_two_places_has_it_twice():
    shared = [1]
    assert parse_yaml(written_yaml({"a": shared, "b": shared}), "there").data == {"a": [1], "b": [1]}


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
        assert equal(dict(sorted(read_tensors(tmp_path / name).items())), tensors)


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


CORNERS = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8)
"""Told apart however it is turned."""


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_exif_says(tmp_path, form, orientation):
    path, exif = tmp_path / "a", Image.Exif()
    exif[0x0112] = orientation
    # how the rows and columns of what is stored are seen, by TIFF 6.0, page 36
    seen = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.T,
        6: CORNERS[::-1].T,
        7: CORNERS[::-1, ::-1].T,
        8: CORNERS[:, ::-1].T,
    }[orientation]
    large = np.kron(CORNERS, np.ones((16, 16), np.uint8))
    Image.fromarray(large).convert("RGB").save(path, form, exif=exif, quality=100)
    found = read_image(path)
    assert found.shape == (16 * seen.shape[0], 16 * seen.shape[1], 3)
    np.testing.assert_allclose(found[8::16, 8::16, 0], seen, atol=4)


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_pixels_return_from_every_lossless_format(tmp_path, form, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a", form, lossless=True)
    found = read_image(tmp_path / "a")
    np.testing.assert_array_equal(found, np.broadcast_to(pixels.reshape(*shape[:2], -1), found.shape))


@pytest.mark.parametrize(
    ("mode", "color", "form", "seen"),
    [
        ("1", 1, "PNG", [255]),
        ("LA", (100, 255), "PNG", [100]),
        ("LA", (100, 0), "PNG", [255]),
        ("RGBA", (200, 0, 100, 255), "PNG", [200, 0, 100]),
        ("RGBA", (200, 0, 100, 0), "PNG", [255, 255, 255]),
        ("RGBA", (200, 0, 100, 51), "PNG", [244, 204, 224]),
        ("RGBA", (200, 0, 100, 51), "TIFF", [244, 204, 224]),
        ("CMYK", (0, 255, 255, 0), "TIFF", [255, 0, 0]),
        ("I;16", 65535, "PNG", [255]),
        ("I;16", 256, "PNG", [1]),
        ("I;16", 32768, "TIFF", [128]),
        ("I;16B", 32768, "TIFF", [128]),
    ],
)
def test_every_kind_of_color_is_read_by_its_rule(tmp_path, mode, color, form, seen):
    Image.new(mode, (3, 2), color).save(tmp_path / "a", form)
    found = read_image(tmp_path / "a")
    assert found.shape == (2, 3, len(seen)) and found.reshape(-1, len(seen)).tolist() == [seen] * 6


def test_palettes_are_looked_up_and_their_transparent_color_is_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "a", "PNG")
    assert read_image(tmp_path / "a").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    picture.save(tmp_path / "a", "PNG", transparency=1)
    assert read_image(tmp_path / "a").tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_of_a_cameras_jpeg_with_a_preview_the_first_picture_is_read(tmp_path):
    Image.new("L", (8, 6), 200).save(tmp_path / "a", "MPO", save_all=True, append_images=[Image.new("L", (2, 2), 0)])
    assert read_image(tmp_path / "a").tolist() == np.full((6, 8, 1), 200).tolist()


def read_dicom(tmp_path, pixels: np.ndarray, **changes) -> list:
    pytest.importorskip("pydicom")
    found = read_image(written(tmp_path, samples.dicom(pixels, **changes)))
    return found[..., 0].tolist() if found.shape[2] == 1 else found.tolist()


@pytest.mark.parametrize(
    ("values", "dtype", "changes", "seen"),
    [
        ([0, 128, 255], "u1", {}, [0, 128, 255]),
        ([0, 2048, 4095], "<u2", {"BitsStored": 12, "HighBit": 11}, [0, 128, 255]),
        ([0, 4096 + 2048, 4095], "<u2", {"BitsStored": 12, "HighBit": 11}, [0, 128, 255]),  # the bit above is another's
        ([-32768, 0, 32767], "<i2", {}, [0, 128, 255]),
        ([-2048, 0, 2047], "<i2", {"BitsStored": 12, "HighBit": 11}, [0, 128, 255]),
        ([0, 128, 255], "u1", {"PhotometricInterpretation": "MONOCHROME1"}, [255, 127, 0]),
        ([0, 128, 255], "u1", {"RescaleSlope": -1, "RescaleIntercept": 5}, [255, 127, 0]),
        # a window of Hounsfield units: center 40, width 400 is -160 ... 239
        ([864, 1064, 1263], "<u2", {"RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}, [0, 128, 255]),
        ([0, 1064, 9999], "<u2", {"RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}, [0, 128, 255]),
        (
            [0, 50, 100],
            "u1",
            {"WindowCenter": [50, 9], "WindowWidth": [100, 9], "VOILUTFunction": "LINEAR_EXACT"},
            [0, 128, 255],
        ),
        ([9, 10, 11], "u1", {"WindowCenter": 10.5, "WindowWidth": 1}, [0, 0, 255]),
    ],
)
def test_dicom_is_rescaled_and_windowed_as_the_standard_says(tmp_path, values, dtype, changes, seen):
    assert read_dicom(tmp_path, np.array([values], dtype), **changes) == [seen]


def test_dicom_in_colors_returns_as_it_was(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    assert read_dicom(tmp_path, pixels) == pixels.tolist()
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()
    assert read_dicom(tmp_path, pixels, PlanarConfiguration=1, PixelData=planes) == pixels.tolist()


def test_dicom_packed_as_a_jpeg_is_read(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pixels = np.full((8, 9), 77, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=100)
    packed = pydicom.encaps.encapsulate([buffer.getvalue()])
    changes = {"PixelData": packed, "TransferSyntaxUID": pydicom.uid.JPEGBaseline8Bit}
    assert read_dicom(tmp_path, pixels, **changes) == pixels.tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NumberOfFrames": 2}, "2 frames of 3 x 1 pixels"),
        ({"Rows": 60_000, "Columns": 60_000}, "1 frames of 60000 x 60000 pixels"),
        ({"Rows": 4_000, "Columns": 4_000}, "4 bytes for 4000 x 4000 pixels"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "of 'PALETTE COLOR'"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "a window 'LINEAR' of width 0.0"),
        ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "SIGMOID"}, "a window 'SIGMOID'"),
        ({"BitsStored": 9}, "9 of 8 bits a value"),
        ({"TransferSyntaxUID": "1.2.840.10008.1.2.5"}, "pixels packed by '1.2.840.10008.1.2.5'"),
    ],
)
def test_dicom_that_no_rule_covers_is_refused(tmp_path, changes, words):
    if "TransferSyntaxUID" in changes:
        changes = {**changes, "PixelData": pytest.importorskip("pydicom").encaps.encapsulate([b"abcd"])}
    with pytest.raises(UntrustedFileError) as refused:
        read_dicom(tmp_path, np.zeros((1, 3), np.uint8), **changes)
    assert words in str(refused.value)


def test_dicom_without_pydicom_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UntrustedFileError, match=r"found a DICOM file; allowed: .* pip install 'seethrough\[dicom\]'"):
        read_image(written(tmp_path, bytes(128) + b"DICM"))


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_the_hash_is_that_of_the_content(tmp_path, size):
    data = os.urandom(size)
    assert sha256_of(written(tmp_path, data)) == hashlib.sha256(data).hexdigest()


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(written(tmp_path, "a: 1"))
    assert read_yaml(tmp_path / "link").data == {"a": 1}
