"""Every attack through every defense on the device that attacks run on: quick where there is a GPU, else skipped."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import seethrough
from seethrough.audit.specification.kinds import entries_of
from tests.parameters import PARAMETERS

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = [pytest.param("cuda", marks=[pytest.mark.cuda, needs_gpu]), pytest.param("cpu", marks=pytest.mark.slow)]

DIFFERENT: list[dict] = [
    {},
    {"rounds": 2},
    {"local": {"steps": 2, "batch_size": 1, "lr": 0.1}},
    {"precision": "float64"},
]


def named(kind: str) -> list[dict]:
    """All entries of a kind as a spec names them, with small budgets."""
    return [{name: PARAMETERS[kind].get(name, {})} for name in sorted(entries_of(kind).entries)]


def everything(**more: object) -> dict:
    """All attacks through all defenses, in both modes of a network with BatchNorm and in one without."""
    models = [("resnet20", "eval"), ("resnet20", "train"), ("convnet", "eval")]
    return {
        "name": "everything",
        "trials": 1,
        "settings": [
            {"name": f"{model}, {mode}", "data": "digits", "model": model, "mode": mode, "batch_size": 2} | more
            for model, mode in models
        ],
        "threats": [{"name": "server", "grants": ["count", "recipe", "defense", "public", "participants", "past"]}],
        "defenses": named("defenses"),
        "attacks": named("attacks"),
        "metrics": ["label_accuracy", "psnr", "psnr_shrunk", "ssim", "identifiability", "cohort_labels"],
        "utility": {"rounds": 1, "clients": 8, "repeats": 1},
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "more", [{}, {"rounds": 2}, {"local": {"steps": 2, "batch_size": 1, "lr": 0.1}}, {"precision": "float64"}]
)
def test_nothing_fails_on_the_device(device: str, more: dict, tmp_path: Path):
    cells = seethrough.audit(everything(**more), tmp_path, device=device, workers=1, quiet=True).cells
    assert {cell.status for cell in cells} <= {"ok", "n/a"}, {cell.note for cell in cells if cell.status == "failed"}


@pytest.mark.cuda
@needs_gpu
def test_the_command_computes_on_a_gpu_and_its_numbers_are_near_those_of_the_cpu(tmp_path: Path):
    spec = everything() | {"settings": everything()["settings"][2:], "defenses": ["none"], "attacks": ["label_counts"]}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    values = {}
    for device in ("cpu", "cuda"):
        command = [sys.executable, "-m", "seethrough", "run", "spec.yaml", "--out", device, "--device", device]
        assert subprocess.run(command, cwd=tmp_path).returncode == 0
        with (tmp_path / device / "results.csv").open(encoding="utf-8", newline="") as file:
            values[device] = [float(row["value"]) for row in csv.DictReader(file) if row["status"] == "ok"]
    assert values["cuda"] == pytest.approx(values["cpu"], abs=1e-3)
