"""Sound small files of every foreign format, made anew each time."""

import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from seethrough.audit.untrusted import read_image, read_npz, read_yaml
from seethrough.audit.untrusted.safetensors import read_safetensors
from seethrough.audit.untrusted.tensors import read_tensors

Reader = Callable[[Path], Any]

READERS: Mapping[str, Reader] = {
    "npz": read_npz,
    "safetensors": read_safetensors,
    "pt": read_tensors,
    "yaml": read_yaml,
    "png": read_image,
    "jpeg": read_image,
    "bmp": read_image,
    "webp": read_image,
    "tiff": read_image,
    **({"dcm": read_image} if find_spec("pydicom") else {}),
}

YAML = """\
# an audit
name: "which defense \\u00e9"
seed: 0
settings:
  - {name: one, data: digits, batch_size: 8, lr: 1e-3, flag: true}
  - name: two
    model: {name: resnet20, weights: ~}
    note: |
      several
      lines
threats: [honest but curious, 'quoted ''text''', 2001-12-14, 12:30:45]
defenses:
- none
- clipping: {max_norm: 1.5}
- [{clipping: {max_norm: -.5e+2}}, {secure: {clients: 8}}]
"""


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "images": rng.integers(0, 256, (3, 4, 4), dtype=np.uint8),
        "labels": rng.integers(0, 9, 3),
        "weights": rng.normal(size=(2, 3)).astype(np.float32),
    }


def npz(deflated: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if deflated else np.savez)(buffer, **arrays())  # type: ignore[arg-type]
    return buffer.getvalue()


def tensors() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn((2, 1, 3, 3), generator=rng),
        "bn.num_batches_tracked": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.bfloat16),
    }


def torch_file(value: Any = None) -> bytes:
    """What torch.save writes: a checkpoint with an optimizer's numbers, or `value`."""
    network = torch.nn.Linear(2, 1)
    state = {**tensors(), "tied": network.weight, "columns first": torch.randn(3, 2).t()}
    checkpoint = {"epoch": 7, "state_dict": state, "optimizer": torch.optim.SGD(network.parameters(), 0.1).state_dict()}
    buffer = io.BytesIO()
    torch.save(checkpoint if value is None else value, buffer)
    return buffer.getvalue()


def image(form: str, shape: tuple[int, ...] = (9, 7, 3), **options: Any) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def dicom(pixels: np.ndarray, **changes: Any) -> bytes:
    """A gray DICOM file; `changes` are elements by keyword, None to leave one out."""
    import pydicom

    told = pydicom.Dataset()
    told.file_meta = pydicom.dataset.FileMetaDataset()
    told.file_meta.TransferSyntaxUID = changes.pop("TransferSyntaxUID", pydicom.uid.ExplicitVRLittleEndian)
    told.file_meta.MediaStorageSOPClassUID = told.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    told.file_meta.MediaStorageSOPInstanceUID = told.SOPInstanceUID = "1.2.3"
    bits = 8 * pixels.dtype.itemsize
    told.Rows, told.Columns, told.SamplesPerPixel = pixels.shape[0], pixels.shape[1], 1 if pixels.ndim == 2 else 3
    told.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    told.BitsAllocated, told.BitsStored, told.HighBit = bits, bits, bits - 1
    told.PixelRepresentation = int(pixels.dtype.kind == "i")
    told.PixelData = pixels.tobytes()
    for name, value in changes.items():
        setattr(told, name, value)
    told["PixelData"].VR = "OB" if bits == 8 else "OW"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, told, enforce_file_format=True)
    return buffer.getvalue()


def samples() -> dict[str, list[bytes]]:
    """The content of a few sound files of each format."""
    return {
        "npz": [npz(), npz(deflated=True)],
        "safetensors": [safetensors.torch.save(tensors(), metadata={"format": "pt"})],
        "pt": [torch_file(), torch_file([torch.ones(2, 2), torch.zeros(3, dtype=torch.bool)])],
        "yaml": [YAML.encode()],
        "png": [image("PNG"), image("PNG", (5, 6))],
        "jpeg": [image("JPEG"), image("JPEG", (17, 20))],
        "bmp": [image("BMP", (9, 8, 3)), image("BMP", (5, 6))],
        "webp": [image("WEBP"), image("WEBP", (5, 6, 4))],
        "tiff": [image("TIFF"), image("TIFF", (5, 6, 4)), image("TIFF", compression="tiff_lzw")],
        **({"dcm": [dicom(np.arange(30, dtype=np.uint16).reshape(5, 6))]} if "dcm" in READERS else {}),
    }
