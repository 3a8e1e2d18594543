"""Photographs of 224 x 224 pixels that libraries ship, and a network trained on ImageNet, for benchmarks/photographs.yaml.

    pip install foolbox efficientnet-lite-pytorch
    python benchmarks/photographs.py build/photographs.npz
    PYTHONPATH=benchmarks TORCH_HOME=../shared/torch_home seethrough run benchmarks/photographs.yaml --out results/photographs

The file holds eighteen of foolbox's twenty sample images of ImageNet, two of scikit-learn's and four of scikit-image's, cut to
their largest centered square, with their ImageNet classes. Settings were chosen on foolbox's images number 1 and 4, which are
left out.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

SIDE = 224
CHOSEN_ON = (1, 4)  # of foolbox's images
MEAN, STD = 0.498, 0.502  # of each channel, as the network was trained
BY_HAND = {"chelsea": 281, "coffee": 967, "rocket": 657, "motorcycle_left": 665, "china.jpg": 663, "flower.jpg": 985}
"""Classes: tabby, espresso, missile, moped, monastery, daisy; the nearest that there are."""


def efficientnet(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """EfficientNet-Lite0 for images in [0, 1], its weights to be loaded by their own names."""
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    model.register_forward_pre_hook(_normalized)
    return model


def _normalized(model: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return ((inputs[0] - MEAN) / STD,)


def main(path: Path) -> None:
    images, labels = zip(*_photographs(), strict=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=np.stack(images), labels=np.array(labels))
    print(f"{path}: {len(labels)} photographs")


def _photographs() -> list[tuple[np.ndarray, int]]:
    samples = sorted((_folder_of("foolbox") / "data").glob("imagenet_*.jpg"))
    found = [
        (_square(Image.open(file)), int(file.stem.split("_")[2]))
        for number, file in enumerate(samples)
        if number not in CHOSEN_ON
    ]
    shipped = _folder_of("skimage") / "data"
    for name, label in BY_HAND.items():
        picture = (
            Image.fromarray(load_sample_image(name)) if name.endswith(".jpg") else Image.open(_file(shipped, name))
        )
        found.append((_square(picture), label))
    return found


def _folder_of(package: str) -> Path:
    """Where it is installed; it need not be imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{package} is not installed: pip install {package}")
    return Path(spec.submodule_search_locations[0])


def _file(folder: Path, name: str) -> Path:
    return next(file for file in sorted(folder.glob(f"{name}.*")))


def _square(picture: Image.Image) -> np.ndarray:
    """The largest centered square, in SIDE pixels a side: uint8 [SIDE, SIDE, 3]."""
    least = min(picture.size)
    left, top = ((side - least) // 2 for side in picture.size)
    square = picture.convert("RGB").crop((left, top, left + least, top + least))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
