"""Where images come from."""

import numpy as np
import pytest
import torch
from PIL import Image

import seethrough
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.folder import Folder
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.torchvision import Torchvision
from seethrough.audit.plan import make_plan
from seethrough.audit.untrusted import UntrustedFileError
from tests.security import samples


def arrays(n: int = 6, **changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"images": rng.integers(0, 256, (n, 8, 9, 3), dtype=np.uint8), "labels": np.arange(n) % 3, **changes}


def npz(tmp_path, **content) -> Npz:
    np.savez(tmp_path / "data.npz", **content)
    return Npz(file=str(tmp_path / "data.npz"))


def test_digits_are_scikit_learns_enlarged():
    images = Digits().load()
    assert images.pixels.shape == (1797, 1, 28, 28)
    assert images.pixels.min() == 0 and images.pixels.max() == 1
    assert images.space.classes == 10
    assert images.labels[:4].tolist() == [0, 1, 2, 3]


def test_an_npz_of_bytes_is_scaled_to_the_unit_interval(tmp_path):
    content = arrays()
    images = npz(tmp_path, **content).load()
    batch = images.batch(torch.tensor([5, 0]))
    assert batch.inputs.shape == (2, 3, 8, 9)
    assert torch.allclose(
        batch.inputs[0], torch.tensor(content["images"][5] / 255, dtype=torch.float32).permute(2, 0, 1)
    )
    assert batch.labels.tolist() == [2, 0]


def test_gray_images_may_come_without_a_channel_and_floats_as_they_are(tmp_path):
    images = npz(tmp_path, **arrays(images=np.random.default_rng(0).random((6, 5, 5)))).load()
    assert images.pixels.shape == (6, 1, 5, 5) and images.pixels.dtype == torch.float32


def test_medmnists_layout_is_read_whole_or_by_part(tmp_path):
    parts = {f"{part}_{name}": value for part in ("train", "val", "test") for name, value in arrays().items()}
    parts = {key: value[:, None] if "labels" in key else value for key, value in parts.items()}
    data = npz(tmp_path, **parts)
    assert len(data.load()) == 18
    assert len(Npz(file=data.file, part="val").load()) == 6


def test_a_model_may_tell_more_classes_apart_than_an_npz_shows(tmp_path):
    file = npz(tmp_path, **arrays()).file
    assert Npz(file=file, classes=1000).load().space.classes == 1000
    shown = Npz(file=file).load().classes
    with pytest.raises(
        UntrustedFileError, match=rf"found labels up to {shown - 1} and `classes: 1`; allowed: at least"
    ):
        Npz(file=file, classes=1).load()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (arrays(images=np.zeros((6, 8))), "shape"),
        (arrays(images=np.zeros((6, 3, 8, 8), dtype=np.uint8)), "the channels last"),
        (arrays(images=np.zeros((6, 32, 32, 17), dtype=np.uint8)), "1 to 16 channels"),
        (arrays(images=np.zeros((6, 8, 8), dtype=np.int32)), "int32"),
        (arrays(images=np.full((6, 8, 8), 2.0)), "[0, 1]"),
        (arrays(images=np.full((6, 8, 8), np.nan)), "[0, 1]"),
        (arrays(labels=np.arange(5)), "6 images"),
        (arrays(labels=np.array(3)), "6 images"),
        (arrays(labels=np.zeros((6, 2), dtype=np.int64)), "one integer"),
        (arrays(labels=np.linspace(0, 1, 6)), "float64"),
        (arrays(labels=np.array([-1, 0, 1, 2, 0, 1])), "-1"),
        ({"x": np.zeros(3)}, "`images` and `labels`"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused_by_name(tmp_path, content, words):
    with pytest.raises(UntrustedFileError) as caught:
        npz(tmp_path, **content).load()
    assert words in str(caught.value) and "data.npz" in str(caught.value)


def test_a_folder_of_images_has_a_class_for_each_subfolder(tmp_path):
    for name, level in (("cat", 50), ("dog", 200)):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (20, 30), level).save(tmp_path / name / f"{number}.png")
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "dog" / "9.jpg", quality=100)
    images = Folder(path=str(tmp_path), size=16).load()
    assert images.pixels.shape == (5, 3, 16, 16)
    assert images.labels.tolist() == [0, 0, 1, 1, 1]
    assert images.pixels[0].unique().tolist() == [50]
    assert images.pixels[4, 0].float().mean() > 250 and images.pixels[4, 1].float().mean() < 5


@pytest.mark.parametrize("kind", ["nothing", "empty", "text"])
def test_a_folder_without_images_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "pictures"
    if kind != "nothing":
        (path / "cat").mkdir(parents=True)
    if kind == "text":
        (path / "cat" / "1.png").write_text("no picture")
    with pytest.raises(UntrustedFileError, match="pictures"):
        Folder(path=str(path)).load()


def pictures(tmp_path, **classes: int):
    """A folder of classes with so many pictures each."""
    for name, count in classes.items():
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("L", (9, 9), 10 * number).save(tmp_path / name / f"{number}.png")
    return tmp_path


def refusal(path) -> str:
    with pytest.raises(UntrustedFileError) as caught:
        Folder(path=str(path)).load()
    return str(caught.value)


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path):
    root = pictures(tmp_path, cat=3, dog=1)
    (root / "cat" / "7.png").write_text("no picture")
    (root / "dog" / "8.jpg").write_bytes((root / "dog" / "0.png").read_bytes()[:60])
    message = refusal(root)
    assert message.startswith(
        f"{root}: found 2 of 6 files that cannot be read (cat/7.png: no image of a known kind; dog/8.jpg: "
    )
    assert message.count("; allowed: ") == 1 and "\n" not in message


def test_of_many_files_that_cannot_be_read_ten_are_named(tmp_path):
    root = pictures(tmp_path, cat=1)
    for number in range(40, 70):
        (root / "cat" / f"{number}.png").touch()
    message = refusal(root)
    assert "found 30 of 31 files" in message and "cat/49.png" in message and "cat/50.png" not in message
    assert "; and 20 more); allowed" in message


def test_what_is_hidden_or_no_picture_is_skipped_and_counted(tmp_path):
    root = pictures(tmp_path, cat=2, dog=1, eel=0)
    for name in (".git", ".ipynb_checkpoints", "__MACOSX"):
        (root / name).mkdir()
        (root / name / "1.png").write_text("no picture")
    (root / ".DS_Store").touch()
    (root / "readme.txt").touch()
    (root / "cat" / ".DS_Store").touch()
    (root / "cat" / "._0.png").write_text("no picture")
    (root / "cat" / ".ipynb_checkpoints").mkdir()
    (root / "cat" / "more.png").mkdir()
    (root / "dog" / "notes.txt").touch()
    (root / "dog" / "0.gif").touch()
    (root / "dog" / "README").touch()
    images = Folder(path=str(root)).load()
    assert images.labels.tolist() == [0, 0, 1] and images.classes == 3
    assert images.note == (
        "skipped: 7 hidden files or folders, 1 folders within a class, 1 files beside the classes, 3 files of other suffixes "
        "(.gif, .txt, none); classes without a picture: eel"
    )


def test_a_folder_of_pictures_alone_has_nothing_to_note(tmp_path):
    assert Folder(path=str(pictures(tmp_path, cat=2, dog=1))).load().note == ""


def test_a_folder_whose_classes_are_empty_says_so(tmp_path):
    message = refusal(pictures(tmp_path, cat=0, dog=0))
    assert (
        "found no images (classes without a picture: cat, dog); allowed: PNG, JPEG, BMP, WebP, TIFF or DICOM" in message
    )


def test_a_folder_of_a_single_class_is_one_sentence(tmp_path):
    """It ended in an IndexError."""
    root = pictures(tmp_path, cat=20)
    setting = {"name": "s", "data": {"folder": {"path": str(root), "size": 16}}, "model": "convnet", "batch_size": 2}
    told = seethrough.spec(
        name="one",
        trials=1,
        settings=[setting],
        threats=[{"name": "server"}],
        defenses=["none"],
        attacks=["label_counts"],
        metrics=["label_accuracy"],
    )
    with pytest.raises(seethrough.InputError, match=r"settings\[0\]\.data: found one class of images; allowed: two"):
        make_plan(told, torch.device("cpu"), 1)


def test_what_was_skipped_stands_in_the_report(tmp_path):
    root = pictures(tmp_path, cat=20, dog=20)
    rng = np.random.default_rng(0)
    for file in root.rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(file)
    (root / "dog" / "notes.txt").touch()
    data = {"folder": {"path": str(root), "size": 16}}
    told = seethrough.spec(
        name="skipped",
        trials=1,
        settings=[{"name": "one", "data": data, "model": "lenet", "batch_size": 2}],
        threats=[{"name": "server"}],
        defenses=["none"],
        attacks=["label_sign"],
        metrics=["label_accuracy"],
    )
    facts = make_plan(told, torch.device("cpu"), 1).manifest.settings[0].facts
    assert "data: skipped: 1 files of other suffixes (.txt)" in facts


def test_pictures_may_be_taller_than_wide(tmp_path):
    (tmp_path / "a").mkdir()
    picture = np.zeros((40, 80), dtype=np.uint8)
    picture[:, 40:] = 200
    Image.fromarray(picture).save(tmp_path / "a" / "wide.png")
    Image.fromarray(picture.T).save(tmp_path / "a" / "high.png")
    images = Folder(path=str(tmp_path), size=(16, 8)).load()
    assert images.pixels.shape == (2, 1, 16, 8) and images.space.shape == (1, 16, 8)
    high, wide = images.pixels[:, 0]
    assert high[:7].unique().tolist() == [0] and high[9:].unique().tolist() == [200]  # the middle 40 x 20 of 80 x 40
    assert wide[:, :3].unique().tolist() == [0] and wide[:, 5:].unique().tolist() == [200]


def test_the_largest_centered_part_is_cut_out(tmp_path):
    (tmp_path / "a").mkdir()
    columns = np.repeat(np.arange(40, dtype=np.uint8)[None], 16, axis=0)
    Image.fromarray(columns).save(tmp_path / "a" / "1.png")
    assert Folder(path=str(tmp_path), size=16).load().pixels[0, 0, 0].tolist() == list(range(12, 28))
    assert Folder(path=str(tmp_path), size=(8, 16)).load().pixels[0, 0, 0, 0] < 6  # 32 of the 40 columns


@pytest.mark.parametrize("size", [7, 1025, (16,), (16, 16, 16), (4, 16), "16"])
def test_a_size_that_cannot_be_meant_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        Folder(path=".", size=size)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (4, "size: found 4; allowed: a number of at least 8."),
        ([16, 4], "size[1]: found 4; allowed: a number of at least 8."),
    ],
)
def test_a_size_in_a_spec_that_cannot_be_meant_gets_one_sentence(size, words):
    setting = {"name": "one", "data": {"folder": {"path": "p", "size": size}}, "model": "lenet", "batch_size": 2}
    with pytest.raises(seethrough.InputError) as caught:
        seethrough.spec(
            name="size",
            trials=1,
            settings=[setting],
            threats=[{"name": "server"}],
            defenses=["none"],
            attacks=["label_sign"],
            metrics=["label_accuracy"],
        )
    assert str(caught.value) == f"the spec, settings[0].data.folder.{words}"


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp", "tif", "tiff"])
def test_pictures_of_every_suffix_are_read(tmp_path, suffix):
    (tmp_path / "a").mkdir()
    Image.new("L", (9, 9), 100).save(tmp_path / "a" / f"1.{suffix}")
    assert Folder(path=str(tmp_path), size=8).load().pixels.unique().tolist() == [100]


def test_dicom_pictures_are_read_where_pydicom_is_installed(tmp_path):
    pytest.importorskip("pydicom")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.dcm").write_bytes(samples.dicom(np.full((9, 9), 100, dtype=np.uint8)))
    assert Folder(path=str(tmp_path), size=8).load().pixels.unique().tolist() == [100]


def test_the_fingerprint_follows_the_content(tmp_path):
    first = npz(tmp_path, **arrays()).load().fingerprint
    other = arrays()
    other["images"][0, 0, 0, 0] ^= 1
    np.savez(tmp_path / "other.npz", **other)
    assert Npz(file=str(tmp_path / "other.npz")).load().fingerprint != first


def test_a_missing_torchvision_folder_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UntrustedFileError, match="download: true"):
        Torchvision(dataset="MNIST", root=str(tmp_path / "none")).load()


def test_mnist_is_read_from_torchvisions_layout(shared_data):
    images = Torchvision(dataset="MNIST", root=str(shared_data)).load()
    assert images.pixels.shape == (70_000, 1, 28, 28) and images.classes == 10
    assert images.labels[:5].tolist() == [5, 0, 4, 1, 9]


def test_chest_x_rays_in_medmnists_layout_are_read(shared_data):
    images = Npz(file=str(shared_data / "pneumoniamnist.npz")).load()
    assert images.space.shape == (1, 28, 28) and images.classes == 2
