"""Pictures that stand in a data set twice: found, named, and taken out of what others hold."""

import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from seethrough.audit.case import divided
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.parts.copies import copies, repeated
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.plan import make_plan
from seethrough.audit.specification.schema import AuditSpec, Setting, Splits


def pictures() -> Tensor:
    """40 smooth pictures of 32 x 32 pixels with a little color, no two alike."""
    rng = torch.Generator().manual_seed(0)
    small = 0.8 * torch.rand(40, 1, 8, 8, generator=rng) + 0.2 * torch.rand(40, 3, 8, 8, generator=rng)
    return F.interpolate(small, size=(32, 32), mode="bicubic").clamp(0, 1)


def as_jpeg(pixels: Tensor, quality: int) -> Tensor:
    found = []
    for picture in pixels:
        file = io.BytesIO()
        Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        found.append(torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1).float() / 255)
    return torch.stack(found)


@pytest.mark.parametrize(
    "altered",
    [
        lambda pixels: as_jpeg(pixels, 85),
        lambda pixels: pixels * 0.8,
        lambda pixels: 0.1 + 0.8 * pixels,
        lambda pixels: pixels + 0.01 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1)),
    ],
    ids=["JPEG", "darker", "less contrast", "noise"],
)
def test_copies_that_were_saved_again_are_near_and_not_exact_and_others_are_neither(altered):
    exact, near = copies(torch.cat([altered(pictures()[:10]), pictures()[20:]]), of=pictures()[:20])
    assert near.tolist() == [True] * 10 + [False] * 20
    assert not exact.any()


def test_exact_copies_are_both_in_bytes_and_in_floats_and_constant_pictures_too():
    pixels = torch.cat([(pictures() * 255).byte(), torch.full((1, 3, 32, 32), 7, dtype=torch.uint8)])
    for kind in (pixels, pixels.float() / 255):
        exact, near = copies(kind[[40, 3, 25]], of=kind[[0, 3, 40]])
        assert exact.tolist() == near.tolist() == [True, True, False]
        assert repeated(kind[[1, 2, 1, 1]]) == 2


@pytest.mark.parametrize("side", [5, 8, 28])
def test_pictures_of_any_size_can_be_compared(side: int):
    pixels = torch.rand(12, 1, side, side, generator=torch.Generator().manual_seed(0))
    exact, near = copies(pixels[:4], of=pixels[3:])
    assert exact.tolist() == near.tolist() == [False, False, False, True]


def test_no_two_digits_are_called_copies():
    assert divided(Setting(name="s", data=Digits(), model=LeNet(), batch_size=1), 0)[1].said() == (
        "copies of private images: none found outside the private split"
    )


def setting(tmp_path, **splits) -> Setting:
    """60 pictures of bytes, each of which stands there twice."""
    pixels = (torch.cat([pictures(), pictures().flip(3)[:20]]) * 255).byte().permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "twice.npz", images=np.concatenate([pixels, pixels]), labels=np.arange(120) % 3)
    return Setting(
        name="twice", data=Npz(file=str(tmp_path / "twice.npz")), model=LeNet(), batch_size=2, splits=Splits(**splits)
    )


def inside(setting: Setting) -> tuple[set[bytes], set[bytes], set[bytes]]:
    images, parts = divided(setting, 0)
    private, public, held_out = (
        {picture.numpy().tobytes() for picture in images.batch(part).inputs}
        for part in (parts.private, parts.public, parts.held_out)
    )
    return private, public, held_out


def test_copies_of_private_images_are_taken_out_of_what_others_hold_and_counted(tmp_path):
    private, public, held_out = inside(setting(tmp_path))
    assert not private & (public | held_out) and public and held_out
    parts = divided(setting(tmp_path), 0)[1]
    kept = divided(setting(tmp_path, copies="keep"), 0)[1]
    assert len(kept.public) - len(parts.public) == parts.in_public.exact == kept.in_public.exact > 10
    assert parts.repeated == len(parts.private) - len(private) > 0
    assert "all taken out" in parts.said() and f"{parts.repeated} private ones repeat another exactly" in parts.said()


def test_copies_that_are_kept_are_a_warning_before_the_run_and_dropped_ones_a_fact_of_the_setting(tmp_path):
    for choice, warned in (("keep", 1), ("drop", 0)):
        one = {
            "name": "twice",
            "data": {"npz": {"file": setting(tmp_path).data.file}},
            "model": "lenet",
            "batch_size": 2,
        }
        parts = {"threats": [{"name": "t"}], "defenses": ["none"], "attacks": ["label_sign"], "trials": 1}
        text = json.dumps(
            {"name": "a", "settings": [one | {"splits": {"copies": choice}}], "metrics": ["label_accuracy"]} | parts
        )
        manifest = make_plan(AuditSpec.model_validate_json(text), torch.device("cpu"), 1).manifest
        assert sum("copies of private images" in warning for warning in manifest.warnings) == warned
        assert any("copies of private images: " in fact for fact in manifest.settings[0].facts)
    assert "left in, so that leaks and floors are too high" in divided(setting(tmp_path, copies="keep"), 0)[1].said()


def test_the_copies_in_pneumoniamnist_are_found(shared_data):
    whole = Npz(file=str(shared_data / "pneumoniamnist.npz")).load().pixels
    assert repeated(whole) == 29  # 31 pairs
    _, near = copies(whole[3000:], of=whole[:3000])
    exact, _ = copies(whole[3000:], of=whole[:3000])
    assert 0 < exact.sum() <= near.sum() <= exact.sum() + 4
