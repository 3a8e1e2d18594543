"""A user's own model: whatever is wrong with it is one sentence, and whatever it is made of enters the key."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest
import torch

from audit.case import broadcast_model, content_of, pixels_matter
from audit.compute import ChangedError, Computation
from audit.plan import Plan, make_plan
from audit.specfile import SpecError, load_spec
from audit.trial import judged_against
from defenses import NotApplicableError
from tests.test_cli import rows, seethrough

SPEC = """
name: own model
trials: 1
settings:
  - {name: s, data: {digits: {size: 8}}, model: 'my_model:build', batch_size: 2}
threats: [{name: t}]
defenses: [none]
attacks: [label_minimum]
metrics: [label_accuracy]
"""
HEAD = "import torch\nfrom torch import nn\n"
LINEAR = "nn.Sequential(nn.Flatten(), nn.Linear(64, classes))"


def written(folder: Path, model: str, attacks: str = "[label_minimum]") -> Path:
    (folder / "my_model.py").write_text(HEAD + model)
    (folder / "spec.yaml").write_text(SPEC.replace("[label_minimum]", attacks))
    return folder / "spec.yaml"


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """The plan of the spec in the user's folder, as a process makes it that has imported none of its modules yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def plan(model: str, attacks: str = "[label_minimum]") -> Plan:
        spec, text = load_spec(written(tmp_path, model, attacks))
        forget()
        return make_plan(spec, text, "spec.yaml", torch.device("cpu"), 1)

    def forget() -> None:
        for name in ("my_model", "helper"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        for known in (content_of, broadcast_model, pixels_matter, judged_against):
            known.cache_clear()

    yield plan
    forget()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("def build(shape):\n    return 1\n", ["my_model:build", "TypeError", "allowed"][:2]),
        ("def build(shape, classes):\n    return nn.Linear(wrong, 2)\n", ["NameError", "wrong", "my_model.py, line 4"]),
        ("def build(shape, classes:\n", ["SyntaxError", "my_model.py, line 3"]),
        ("raise SystemExit('no license')\n", ["SystemExit: no license", "my_model.py, line 3"]),
        ("import nowhere_to_be_found\n", ["ModuleNotFoundError", "nowhere_to_be_found", "my_model.py, line 3"]),
        ("build = 3\n", ["is a int", "allowed: a function"]),
        ("def other(): pass\n", ["my_model has no build"]),
        ("def build(shape, classes):\n    return [1]\n", ["returned a list", "torch.nn.Module"]),
        (
            "class Odd(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = nn.Linear(64, 10)\n"
            "    def forward(self, x):\n        return {'logits': self.w(x.flatten(1))}\n"
            "def build(shape, classes):\n    return Odd()\n",
            ["returns a dict", "a tensor of logits [n, 10]"],
        ),
        (
            "class Odd(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = nn.Linear(64, 10)\n"
            "    def forward(self, x):\n        raise KeyError('pixels')\n"
            "def build(shape, classes):\n    return Odd()\n",
            ["Odd", "cannot take the images", "KeyError", "my_model.py, line 8"],
        ),
        (
            f"def build(shape, classes):\n    return nn.Sequential({LINEAR}, nn.Softmax(1))\n",
            ["probabilities", "before the softmax"],
        ),
        ("def build(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n", ["[8, 3]", "[8, 10]"]),
        (f"def build(shape, classes):\n    return {LINEAR}.requires_grad_(False)\n", ["none of its parameters trains"]),
        (
            f"def build(shape, classes):\n    net = {LINEAR}\n    net[1].weight.data.fill_(float('nan'))\n    return net\n",
            ["not finite"],
        ),
        (
            "class Odd(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.w = nn.Linear(64, 10)\n"
            "    def forward(self, x):\n        return self.w(x.flatten(1)) + torch.rand(1)\n"
            "def build(shape, classes):\n    return Odd()\n",
            ["something else for the same images"],
        ),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_audited_is_one_sentence(planned, model, words):
    with pytest.raises(SpecError) as caught:
        planned(model)
    (said,) = caught.value.sentences
    assert said.startswith("spec.yaml, settings[0].model: ") and said.endswith(".")
    for word in words:
        assert word in said, said


def test_the_command_answers_a_broken_model_with_its_line_and_exit_code_2(tmp_path):
    written(tmp_path, "def build(shape, classes):\n    return nn.Linear(wrong, 2)\n")
    done = seethrough("run", "spec.yaml", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "my_model.py, line 4" in done.stderr
    assert not (tmp_path / "out").exists()


def test_code_that_the_users_model_imports_enters_the_key(planned, tmp_path):
    """helper.py gained two layers, and the numbers of the former network were shown as those of the new one."""
    model = "import helper\ndef build(shape, classes):\n    return helper.body(classes)\n"
    deeper = "nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))"
    keys = []
    for body in (LINEAR, LINEAR, deeper):
        (tmp_path / "helper.py").write_text(f"{HEAD}def body(classes):\n    return {body}\n")
        keys.append(set(planned(model).cases))
    assert keys[0] == keys[1] and keys[0].isdisjoint(keys[2])


def test_code_that_changes_only_what_the_model_computes_enters_the_key_too(planned):
    model = "class Net(nn.Sequential):\n    def forward(self, x):\n        return super().forward(x) * SCALE\n"
    model += f"def build(shape, classes):\n    return Net(*{LINEAR})\n"
    heads = ("SCALE = 1.0", "SCALE = 2.0", "SCALE = 1.0  # as before")
    first, second, comment = (set(planned(f"{head}\n{model}").cases) for head in heads)
    assert first == comment and first.isdisjoint(second)


def test_a_cell_whose_model_changed_after_it_was_planned_fails_instead_of_taking_the_key(planned, tmp_path):
    plan = planned(f"def build(shape, classes):\n    return {LINEAR}\n")
    compute = Computation(plan.cases, "cpu", "code", plan.environment)
    place = plan.manifest.places[0]
    assert compute(place).status == "ok"
    planned(f"def build(shape, classes):\n    return nn.Sequential({LINEAR}, nn.Linear(classes, classes))\n")
    with pytest.raises(ChangedError, match="changed since the audit was planned"):
        compute(place)


def test_pixels_that_are_cast_to_integers_are_not_searched_and_labels_still_are(planned):
    """Every search failed, and the page said that no defense had held."""
    model = (
        "class Tokens(nn.Module):\n    def __init__(self, classes):\n        super().__init__()\n"
        "        self.table = nn.Embedding(17, 8)\n        self.out = nn.Linear(8, classes)\n"
        "    def forward(self, x):\n        return self.out(self.table((x.flatten(1) * 16).long()).mean(1))\n"
        "def build(shape, classes):\n    return Tokens(classes)\n"
    )
    plan = planned(model, "[label_minimum, {inverting_gradients: {steps: 3}}]")
    assert "s: the loss has no slope in the pixels" in plan.manifest.limits[0]
    labels, search = plan.manifest.places
    compute = Computation(plan.cases, "cpu", "code")
    assert compute(labels).status == "ok"
    with pytest.raises(NotApplicableError, match="no slope in the pixels"):
        compute(search)


def test_pictures_smaller_than_the_window_of_ssim_lose_that_metric_alone(tmp_path):
    """It failed the whole cell, and with it every other score."""
    import numpy as np

    draws = np.random.default_rng(0)
    np.savez(tmp_path / "small.npz", images=draws.random((400, 6, 6), dtype=np.float32), labels=np.arange(400) % 4)
    spec = SPEC.replace("{digits: {size: 8}}", "{npz: small.npz}").replace("'my_model:build'", "convnet")
    spec = spec.replace("[label_minimum]", "[{inverting_gradients: {steps: 3}}]").replace(
        "[label_accuracy]", "[psnr, ssim]"
    )
    (tmp_path / "spec.yaml").write_text(spec)
    done = seethrough("run", "spec.yaml", "--out", "out", "--workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {row["metric"]: (row["status"], row["note"]) for row in rows(tmp_path / "out")}
    assert found["psnr"][0] == "ok"
    assert found["ssim"] == ("n/a", "pictures of 6 pixels a side are smaller than SSIM's window of 7")
