"""Where what is costly is computed: on the device of the run, and on the CPU elsewhere."""

import pytest
import torch
from torch import Generator, nn

from seethrough.attacks import Space
from seethrough.audit.cells import compute
from seethrough.audit.cells.compute import Computation
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.plan import make_plan
from seethrough.audit.randomness import stream
from seethrough.audit.specification.file import spec_from
from seethrough.audit.utility import Training, accuracy
from seethrough.common.computing import computing_device, computing_on
from seethrough.defenses import Batch, Params
from seethrough.federation.client import batch_statistics, local_update
from seethrough.recipes import Recipe

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")


class Looked(Exception):
    """Raised by who has seen where it computes."""


def setup(batchnorm: bool = False) -> tuple[nn.Module, Batch]:
    model = ConvNet(width=4, batchnorm=batchnorm).build(Space((1, 8, 8), 4))
    return model, Batch(torch.rand(4, 1, 8, 8), torch.arange(4))


def looks(model: nn.Module, batch: Batch, rng: Generator) -> Params:
    raise Looked({*(parameter.device for parameter in model.parameters()), batch.inputs.device, batch.labels.device})


def test_it_is_the_cpu_where_nothing_else_was_said():
    with pytest.raises(Looked), computing_on(ELSEWHERE):
        assert computing_device() == ELSEWHERE
        with computing_on(CPU):
            assert computing_device() == CPU
        assert computing_device() == ELSEWHERE
        raise Looked
    assert computing_device() == CPU


@pytest.mark.parametrize("device", [CPU, ELSEWHERE])
def test_clients_train_there(device: torch.device):
    model, batch = setup()
    with pytest.raises(Looked) as seen, computing_on(device):
        local_update(model, batch, Recipe(), looks, stream(0))
    assert seen.value.args == ({device},)
    assert {parameter.device for parameter in model.parameters()} == {CPU}


def test_statistics_are_taken_where_the_batch_lies():
    model, batch = setup(batchnorm=True)
    found = batch_statistics(model, batch.inputs.to(ELSEWHERE))
    assert found and {part.device for part in found.values()} == {ELSEWHERE}


def test_accuracies_are_taken_there():
    model, batch = setup()
    model.register_forward_pre_hook(lambda layer, arguments: looks(layer, Batch(arguments[0], arguments[0]), None))
    with pytest.raises(Looked) as seen, computing_on(ELSEWHERE):
        accuracy(model, batch)
    assert seen.value.args == ({ELSEWHERE},)


SPEC = {
    "name": "there",
    "trials": 1,
    "settings": [{"name": "digits", "data": "digits", "model": "convnet", "batch_size": 2}],
    "threats": [{"name": "server", "grants": ["count"]}],
    "defenses": ["none"],
    "attacks": ["label_sign"],
    "metrics": ["label_accuracy"],
    "utility": {"rounds": 1, "clients": 2, "repeats": 1},
}


@pytest.mark.parametrize("run", ["run_trial", "run_training"])
def test_cells_are_computed_on_the_device_of_the_run(run: str, monkeypatch):
    def looking(*_: object) -> None:
        raise Looked(computing_device())

    plan = make_plan(spec_from(SPEC), CPU, 1)
    trains = {place: isinstance(plan.cases[place.key], Training) for place in plan.manifest.planned}
    place = next(place for place, training in trains.items() if training == (run == "run_training"))
    monkeypatch.setattr(compute, run, looking)
    with pytest.raises(Looked) as seen:
        Computation(plan.cases, "meta", "code")(place)
    assert seen.value.args == (ELSEWHERE,) and computing_device() == CPU
