"""Parameters of our entries under test: small budgets, and values where there is no default."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from seethrough.contracts import entries
from seethrough.defenses import Defense

FILES = Path(tempfile.mkdtemp(prefix="seethrough-tests-"))
atexit.register(shutil.rmtree, FILES)


def _write_files() -> None:
    draws = np.random.default_rng(0)
    images, labels = draws.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), np.arange(6) % 2
    np.savez(FILES / "images.npz", images=images, labels=labels)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = FILES / "pictures" / f"class {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{place}.png")


_write_files()

PARAMETERS: dict[str, dict[str, dict[str, Any]]] = {
    "attacks": {
        "dlg": {"steps": 3, "restarts": 2, "spread": 2.0},
        "gradinversion": {"steps": 4},
        "inverting_gradients": {"steps": 3, "restarts": 2},
        "latent_prior": {"epochs": 1, "steps": 3, "restarts": 2},
        "layerwise_cosine": {"steps": 3, "restarts": 2},
    },
    "defenses": {
        "client_dp": {"noise_multiplier": 1.0, "max_norm": 0.5},
        "clipping": {"max_norm": 0.5},
        "dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0},
        "gaussian_noise": {"std": 0.1},
        "laplace_noise": {"scale": 0.1},
        "partial_sharing": {"share": 0.5},
        "quantization": {"bits": 4},
        "top_k": {"share": 0.25},
    },
    "data": {
        "folder": {"path": str(FILES / "pictures")},
        "npz": {"file": str(FILES / "images.npz")},
    },
    "weights": {
        "file": {"path": str(FILES / "none.safetensors")},
    },
    "models": {
        "torchvision": {"classifier": "squeezenet1_1"},
        "custom": {"function": "tests.parameters:build"},
    },
}


def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A user's own model."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))


def built(name: str) -> Defense:
    """The defense of this name, with small values."""
    import tests.parameters

    return entries.built("defenses", name, tests.parameters)
