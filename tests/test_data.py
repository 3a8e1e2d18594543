"""Where images come from."""

import numpy as np
import pytest
import torch
from PIL import Image

from seethrough.audit.data.digits import Digits
from seethrough.audit.data.folder import Folder
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.torchvision import Torchvision
from seethrough.audit.untrusted import UntrustedFileError


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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (arrays(images=np.zeros((6, 8))), "shape"),
        (arrays(images=np.zeros((6, 8, 8, 2), dtype=np.uint8)), "1 or 3 channels"),
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
