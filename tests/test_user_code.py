"""A user's own model: whatever is wrong with it is one sentence, and whatever it is made of enters the key."""

import importlib
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from seethrough.attacks.generators.user_generator import _drawn
from seethrough.audit.case import broadcast_model, content_of, why_unsearchable
from seethrough.audit.cells.compute import ChangedError, Computation
from seethrough.audit.cells.store import Store
from seethrough.audit.cells.worker import Job, _attempt
from seethrough.audit.cli import main
from seethrough.audit.judging import judged_against
from seethrough.audit.manifest import accuracy
from seethrough.audit.plan import Plan, make_plan
from seethrough.audit.specification.error_messages import SpecError
from seethrough.audit.specification.file import load_spec
from seethrough.common.user_sources import code_of
from seethrough.defenses import NotApplicableError
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


def written(
    folder: Path, model: str, attacks: str = "[label_minimum]", weights: str = "random", settings: str = ""
) -> Path:
    (folder / "my_model.py").write_text(HEAD + model)
    text = SPEC.replace("[label_minimum]", attacks).replace("batch_size", f"weights: {weights}, {settings}batch_size")
    (folder / "spec.yaml").write_text(text)
    return folder / "spec.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder, of whose modules this process has imported none and imports none at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    forget(tmp_path)


def forget(folder: Path) -> None:
    for name in ("my_model", "helper"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    for known in (content_of, broadcast_model, why_unsearchable, judged_against, code_of, accuracy, _drawn):
        known.cache_clear()


@pytest.fixture
def planned(folder, monkeypatch):
    """The plan of the spec in the user's folder, as a process makes it that has imported none of its modules yet; without the
    seconds in which it starts another one to compare with."""
    monkeypatch.setattr("seethrough.audit.plan._check_elsewhere", lambda spec, device: None)

    def plan(model: str, *given: str, **others: str) -> Plan:
        spec = load_spec(written(folder, model, *given, **others))
        forget(folder)
        return make_plan(spec, torch.device("cpu"), 1)

    return plan


@pytest.fixture
def command(folder, monkeypatch, capsys):
    """The exit code of `seethrough run spec.yaml`, and what it writes to stderr."""
    terminate = signal.getsignal(signal.SIGTERM)

    def run(model: str, *given: str, **others: str) -> tuple[int, str]:
        written(folder, model, *given, **others)
        forget(folder)
        monkeypatch.setattr(sys, "argv", ["seethrough", "run", "spec.yaml", "--out", "out", "--workers", "1"])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().err

    yield run
    signal.signal(signal.SIGTERM, terminate)


def net(forward: str, init: str = "") -> str:
    """A linear model of the user's, whose `forward` is the line given; line 10 of my_model.py where `init` is empty."""
    return (
        "class Net(nn.Module):\n    def __init__(self, classes):\n        super().__init__()\n"
        f"        self.flat = nn.Flatten()\n        self.w = nn.Linear(64, classes)\n{init}"
        f"    def forward(self, x):\n        {forward}\ndef build(shape, classes):\n    return Net(classes)\n"
    )


def sequential(*layers: str) -> str:
    return f"def build(shape, classes):\n    return nn.Sequential({', '.join((LINEAR, *layers))})\n"


MISTAKES = {
    "too few parameters": ("def build(shape):\n    return 1\n", "my_model:build` takes (shape)", "my_model.py, line 3"),
    "too many parameters": (
        "def build(shape, classes, width):\n    return 1\n",
        *("takes (shape, classes, width)", "called with ((1, 8, 8), 10)", "missing a required argument: 'width'"),
    ),
    "a class of too few": (
        "class build(nn.Module):\n    def __init__(self):\n        super().__init__()\n",
        *("my_model:build` takes ()", "my_model.py, line 4"),
    ),
    "a name that is missing": (
        "def build(shape, classes):\n    return nn.Linear(wrong, 2)\n",
        *("NameError", "wrong", "my_model.py, line 4"),
    ),
    "a sentence over lines": (
        "def build(shape, classes):\n    raise ValueError('first\\n  second')\n",
        *("ValueError: first second", "my_model.py, line 4"),
    ),
    "an exit": ("def build(shape, classes):\n    exit(3)\n", "SystemExit: 3", "my_model.py, line 4"),
    "no Python": ("def build(shape, classes:\n", "SyntaxError", "my_model.py, line 3"),
    "an exit at import": ("raise SystemExit('no license')\n", "SystemExit: no license", "my_model.py, line 3"),
    "an import of nothing": ("import nowhere\n", "ModuleNotFoundError", "'nowhere'", "my_model.py, line 3"),
    "a division at import": ("x = 1 / 0\n", "ZeroDivisionError", "my_model.py, line 3"),
    "not a function": ("build = 3\n", "is of type int", "allowed: a function"),
    "no such function": ("def other(): pass\n", "my_model has no build", "my_model.py"),
    "not a module": ("def build(shape, classes):\n    return [1]\n", "returned a list", "torch.nn.Module"),
    "a lock": (net("return self.w(self.flat(x))", "        self.lock = __import__('threading').Lock()\n"), "cannot be copied"),
    "lazy layers": (
        "def build(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))\n",
        "take their shape from the first images",
    ),
    "a dict": (
        net("return {'first': self.w(self.flat(x)), 'second': self.w(self.flat(x))}"),
        *("returns a dict ('first': [8, 10], 'second': [8, 10])", "a tensor of logits [n, 10]", "self.net(images)['first']"),
    ),
    "a pair": (net("return self.w(self.flat(x)), self.w(self.flat(x))"), "returns a tuple", "def forward(self, images)"),
    "regression": (sequential("nn.Linear(classes, 1)"), "one number an image, as regression", "allowed: [8, 10]"),
    "a vector": (net("return self.w(self.flat(x)).mean(1)"), "a shape of [8] for 8 images, one number an image"),
    "segmentation": (
        "def build(shape, classes):\n    return nn.Conv2d(1, classes, 3, padding=1)\n",
        *("logits for each pixel, as segmentation has", "logits.mean((2, 3))"),
    ),
    "detection": (net("return [{'boxes': x, 'labels': x} for _ in x]"), "a list of boxes, as object detection does"),
    "keywords": (
        net("return self.w(self.flat(x))").replace("self, x", "self, *, x"),
        *("Net.forward` takes (*, x), not images alone", "my_model.py, line 8", "self.net(x=images)"),
    ),
    "classes": (net("return self.w(self.flat(x)).argmax(1)"), "a shape of [8]", "[8, 10]"),
    "whole numbers": (net("return self.w(self.flat(x)).round().long()"), "torch.int64", "a floating type"),
    "another shape": (sequential("nn.Linear(classes, 3)"), "[8, 3]", "[8, 10]"),
    "a forward that raises": (net("raise KeyError('pixels')"), "Net", "KeyError: 'pixels'", "my_model.py, line 9"),
    "a forward of two": (
        net("return x").replace("self, x", "self, x, y"),
        *("takes (x, y)", "my_model.py, line 8", "self.net(images, y=...)"),
    ),
    "one batch size": (net("return self.w(x.reshape(8, 64))"), "cannot take a batch of 1", "my_model.py, line 9"),
    "no gradient": (net("return self.w(self.flat(x)).detach()"), "gradient is zero in every parameter"),
    "a broken backward": (
        "class Odd(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x * 1\n"
        "    @staticmethod\n    def backward(ctx, g):\n        raise IndexError('no slope')\n"
        + net("return Odd.apply(self.w(self.flat(x)))"),
        *("cannot be trained", "IndexError: no slope", "my_model.py, line 9"),
    ),
    "a softmax": (sequential("nn.Softmax(1)"), "probabilities", "before the softmax"),
    "frozen": (net("return self.w(self.flat(x))", "        self.requires_grad_(False)\n"), "none of its parameters trains"),
    "not a number": (net("return self.w(self.flat(x)) * float('nan')"), "not finite"),
    "a slope that is none": (net("return (self.w(self.flat(x)) * 0).sqrt()"), "gradient is not finite"),
    "chance": (net("return self.w(self.flat(x)) + torch.rand(1)"), "something else for the same images"),
    "chance of numpy": (
        "import numpy\n" + net("return self.w(self.flat(x)) + numpy.random.rand()"),
        "something else for the same images",
    ),
    "chance in build": (
        "import numpy\n" + net("return self.w(self.flat(x)) * self.scale", "        self.scale = numpy.random.rand()\n"),
        "from elsewhere than torch",
    ),
    "chance at import": (
        "import numpy\nSCALE = numpy.random.rand()\n" + net("return self.w(self.flat(x)) * SCALE"),
        "another process does not make alike",
    ),
    "images in place": (net("return self.w(self.flat(x.clamp_(0.2, 0.8)))"), "changes the images that it is given"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_model_that_cannot_be_audited_is_one_sentence_and_exit_code_2(command, tmp_path, mistake):
    model, *words = MISTAKES[mistake]
    code, said = command(model)
    assert code == 2 and said.startswith("spec.yaml, settings[0].model: ") and said.endswith(".\n"), said
    assert said.count("\n") == 1 and "Traceback" not in said
    for word in words:
        assert word in said, said
    assert not (tmp_path / "out").exists()


RETURNED = {
    "a dict": "{'logits': logits, 'features': logits}",
    "a dict of other names": "{'output': logits, 'features': x}",
    "a tuple": "(x.mean(), logits)",
    "a dataclass": "Output(logits, logits)",
}


@pytest.mark.parametrize("returned", RETURNED)
def test_logits_are_found_in_what_a_model_returns(planned, returned):
    model = net(f"logits = self.w(self.flat(x)); return {RETURNED[returned]}")
    head = "from dataclasses import dataclass\n@dataclass\nclass Output:\n    logits: object\n    features: object\n"
    plan = planned(head + model, "[label_minimum, {inverting_gradients: {steps: 3}}]")
    for place in plan.manifest.places:
        assert Computation(plan.cases, "cpu", "code")(place).status == "ok"


@pytest.mark.parametrize("weights", ["{train: {epochs: 1}}", "random"])
def test_a_model_that_fails_only_where_it_is_trained_is_one_sentence(command, weights):
    forward = "if self.training: raise LookupError('unseen')\n        return self.w(self.flat(x))"
    code, said = command(net(forward, "        self.norm = nn.BatchNorm1d(3)\n"), weights=weights)
    assert code == 2 and "in train mode: LookupError: unseen (my_model.py, line 10)" in said


def test_a_softmax_is_named_before_weights_are_trained(command, tmp_path, monkeypatch):
    monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path / "cache"))
    assert command(sequential("nn.Softmax(1)"), weights="{train: {epochs: 1}}")[0] == 2
    assert not (tmp_path / "cache").exists()


def test_probabilities_in_eval_mode_alone_are_no_fault_of_a_client_who_trains_in_train_mode(planned):
    model = net("x = self.w(self.flat(x)); return x if self.training else x.softmax(1)")
    assert planned(model, settings="mode: train, ").cases
    with pytest.raises(SpecError, match="probabilities"):
        planned(model)


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


def test_a_branch_that_no_probe_takes_enters_the_key_wherever_it_is_imported(planned, tmp_path):
    model = net("if len(x) == 5: import helper; return helper.other(x)", "").replace(
        "return helper.other(x)\n", "return helper.other(x)\n        return self.w(self.flat(x))\n"
    )
    keys = []
    for factor in ("1", "2", "2  # twice"):
        (tmp_path / "helper.py").write_text(f"def other(x):\n    return x * {factor}\n")
        keys.append(set(planned(model).cases))
    assert keys[1] == keys[2] and keys[0].isdisjoint(keys[1])


def test_weights_are_trained_anew_where_only_what_the_model_computes_has_changed(planned, tmp_path, monkeypatch):
    """The cache knew them by the layers and the first weights, and gave those of the former network."""
    monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path / "cache"))
    trained = []
    for sign in ("", "-"):
        plan = planned(net(f"return {sign}self.w(self.flat(x))"), weights="{train: {epochs: 1}}")
        (case,) = plan.cases.values()
        trained.append(broadcast_model(case.setting, 0, 0).w.weight)
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2
    assert (trained[0] - trained[1]).abs().max() > 0.01


def test_a_module_that_is_one_for_all_calls_is_copied_for_each(planned):
    """Weights that were trained for one setting stood in the model of another one, and of every trial."""
    model = "NET = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\ndef build(shape, classes):\n    return NET\n"
    (case,) = planned(model).cases.values()
    first, second = (broadcast_model(case.setting, 0, trial) for trial in (0, 1))
    assert first is not second and first[1].weight is not second[1].weight


@pytest.mark.parametrize("weights", ["{train: {epochs: 1}}", "random"])
def test_weights_do_not_depend_on_what_else_the_process_has_drawn(planned, tmp_path, monkeypatch, weights):
    """Dropout drew from the process, so that BatchNorm's statistics were others in each, and no worker knew the model."""
    layers = "nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, classes)"
    (case,) = planned(
        f"def build(shape, classes):\n    return nn.Sequential({layers})\n", weights=weights
    ).cases.values()
    states = []
    for drawn in (0, 1):
        monkeypatch.setenv("SEETHROUGH_CACHE", str(tmp_path / f"cache {drawn}"))
        broadcast_model.cache_clear()
        torch.manual_seed(drawn)
        states.append(broadcast_model(case.setting, 0, 0).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_cell_of_a_changed_model_is_failed_with_a_sentence(planned, tmp_path):
    plan = planned(net("return self.w(self.flat(x))"))
    compute = Computation(plan.cases, "cpu", "code", plan.environment)
    planned(net("return self.w(self.flat(x)) + 1"))
    cell = _attempt(Job(compute, Store(tmp_path / "out"), threads=1), plan.manifest.places[0])
    assert cell.status == "failed"
    assert cell.note.startswith("the data, the model, its weights or its code have changed")


def test_a_model_of_types_that_numpy_does_not_know_has_a_fingerprint(planned):
    extra = "        self.register_buffer('table', torch.zeros(2, dtype=torch.bfloat16))\n        self.table[1] = {}\n"
    keys = [set(planned(net("return self.w(self.flat(x))", extra.format(value))).cases) for value in (1, 2, 1)]
    assert keys[0] == keys[2] and keys[0].isdisjoint(keys[1])


def test_where_an_object_lies_in_memory_does_not_enter_the_key(planned):
    model = net(
        "return self.w(self.flat(x))",
        "        self.hook = print\n    def extra_repr(self):\n        return f'{object()}'\n",
    )
    assert set(planned(model).cases) == set(planned(model).cases)


def test_pixels_that_are_cast_to_integers_are_not_searched_and_labels_still_are(planned):
    """Every search failed, and the page said that no defense had held."""
    model = (
        "class Tokens(nn.Module):\n    def __init__(self, classes):\n        super().__init__()\n"
        "        self.table = nn.Embedding(17, 8)\n        self.out = nn.Linear(8, classes)\n"
        "    def forward(self, x):\n        return self.out(self.table((x.flatten(1) * 16).long()).mean(1))\n"
        "def build(shape, classes):\n    return Tokens(classes)\n"
    )
    plan = planned(model, "[label_sign, {inverting_gradients: {steps: 3}}]")
    assert "s: the loss has no slope in the pixels" in plan.manifest.limits[0]
    labels, search = plan.manifest.places
    compute = Computation(plan.cases, "cpu", "code")
    assert compute(labels).status == "ok"
    with pytest.raises(NotApplicableError, match="no slope in the pixels"):
        compute(search)


def test_pixels_are_not_searched_where_the_gradient_cannot_be_differentiated_again(planned):
    model = (
        "from torch.autograd.function import once_differentiable\n"
        "class Once(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x * 1\n"
        "    @staticmethod\n    @once_differentiable\n    def backward(ctx, g):\n        return g\n"
        + net("return Once.apply(self.w(self.flat(x)))")
    )
    plan = planned(model, "[label_minimum, {inverting_gradients: {steps: 3}}]")
    assert "s: the gradient cannot be differentiated again" in plan.manifest.limits[0]
    labels, search = plan.manifest.places
    compute = Computation(plan.cases, "cpu", "code")
    assert compute(labels).status == "ok"
    with pytest.raises(NotApplicableError, match="cannot be differentiated again"):
        compute(search)


@pytest.mark.parametrize("restarts", [1, 2])
def test_autograd_functions_of_the_old_form_are_searched_through(planned, restarts):
    """torch.func takes none of these, whatever their second derivative."""
    model = (
        "class Twice(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n        return x * 2\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g * 2\n"
        + net("return Twice.apply(self.w(self.flat(x)))")
    )
    plan = planned(model, f"[label_counts, {{inverting_gradients: {{steps: 3, restarts: {restarts}}}}}]")
    compute = Computation(plan.cases, "cpu", "code")
    assert [compute(place).status for place in plan.manifest.places] == ["ok", "ok"]


def test_pixels_are_not_searched_where_a_client_cannot_be_played(planned):
    model = net("assert isinstance(self.w.weight, nn.Parameter)\n        return self.w(self.flat(x))")
    plan = planned(model, "[label_counts, {inverting_gradients: {steps: 3}}]")
    assert "s: a client cannot be played with the attacker's own weights" in plan.manifest.limits[0]
    labels, search = plan.manifest.places
    compute = Computation(plan.cases, "cpu", "code")
    assert compute(labels).status == "ok"
    with pytest.raises(NotApplicableError, match="cannot be played"):
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
    done = seethrough("run", "spec.yaml", "--out", "out", "--workers", "1", cwd=tmp_path, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr  # and with two threads, on which the same model rounds otherwise
    found = {row["metric"]: (row["status"], row["note"]) for row in rows(tmp_path / "out")}
    assert found["psnr"][0] == "ok"
    assert found["ssim"] == ("n/a", "pictures of 6x6 pixels are smaller than SSIM's window of 7")
