"""The recorder for Flower, on stand-ins for Flower's messages, and the example's clients beside our own.

Flower itself holds other libraries back and is not installed here; `examples/flower` runs the recorder in its simulation.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import seethrough
from seethrough.audit.randomness import stream
from seethrough.audit.recordings.read import read_recording
from seethrough.common.errors import InputError
from seethrough.defenses import Batch, MeanGradient
from seethrough.federation.client import local_update
from seethrough.flower import Recorder
from seethrough.recipes import Order, Recipe

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "flower"
LOCAL = {
    "epochs": 1,
    "batch_size": 4,
    "shuffle": True,
    "lr": 0.05,
    "optimizer": {"sgd": {"momentum": 0.9, "weight_decay": 1e-4}},
}


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import flower_digits.task as found

    yield found
    for name in [name for name in sys.modules if name.startswith("flower_digits")]:
        del sys.modules[name]


class Arrays(dict):
    """What a flwr.app.ArrayRecord is to the recorder."""

    def to_torch_state_dict(self) -> dict[str, Tensor]:
        return dict(self)


@dataclass
class Content:
    array_records: dict[str, Any] = field(default_factory=dict)
    config_records: dict[str, Any] = field(default_factory=dict)
    metric_records: dict[str, Any] = field(default_factory=dict)


@dataclass
class Metadata:
    message_type: str


@dataclass
class Message:
    content: Content
    metadata: Metadata = field(default_factory=lambda: Metadata("train"))
    error: bool = False

    def has_error(self) -> bool:
        return self.error


@dataclass
class Context:
    node_config: dict[str, Any]
    run_config: dict[str, Any]
    node_id: int = 77


def request(weights: dict[str, Tensor], kind: str = "train", number: int = 3) -> Message:
    return Message(Content({"arrays": Arrays(weights)}, {"config": {"server-round": number}}), Metadata(kind))


def reply_of(weights: dict[str, Tensor], examples: int) -> Message:
    return Message(Content({"anything": Arrays(weights)}, metric_records={"metrics": {"num-examples": examples}}))


def client_of(task: ModuleType, examples: int = 8) -> Any:
    """What a Flower client does with a train message."""

    def run(message: Message, context: Context) -> Message:
        net = task.Net()
        net.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        number = context.node_config["partition-id"]
        task.train(net, *task.share_of(number, examples), LOCAL, seed=number)
        return reply_of({name: part.clone() for name, part in net.state_dict().items()}, examples)

    return run


def weights_of(task: ModuleType) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: part.clone() for name, part in task.Net().state_dict().items()}


def order_of(count: int, seed: int) -> Order:
    """The order in which the example's DataLoader deals the examples out."""
    chance = torch.Generator().manual_seed(seed)
    batches = DataLoader(TensorDataset(torch.arange(count)), batch_size=4, shuffle=True, generator=chance)
    return tuple((places,) for (places,) in batches)


def test_what_a_client_received_and_sent_is_recorded_and_its_reply_goes_out_as_it_was(task: ModuleType, tmp_path: Path):
    recorder = Recorder(tmp_path, recipe=lambda m, c: LOCAL, shape=task.SHAPE, classes=task.CLASSES)
    before, context = weights_of(task), Context({"partition-id": 2}, {})
    reply = recorder(request(before), context, client_of(task))
    found = read_recording(tmp_path / "client-2" / "round-3")
    assert found.facts.client == "2" and found.facts.round == 3 and found.facts.examples == 8
    assert found.facts.recipe is not None and found.facts.recipe.written() == LOCAL
    assert all(torch.equal(found.before[name], part) for name, part in before.items())
    assert all(torch.equal(found.sent[name], part) for name, part in reply.content.array_records["anything"].items())


def test_a_flower_clients_update_is_that_of_our_own_client_bit_for_bit_and_gives_away_as_much(
    task: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """So the same attack finds the same in both: 0 dB and no label apart."""
    recorder = Recorder(
        tmp_path / "rec",
        recipe=LOCAL,
        shape=task.SHAPE,
        classes=task.CLASSES,
        truth=lambda message, context: task.share_of(context.node_config["partition-id"], 8),
    )
    before = weights_of(task)
    for client in range(2):
        recorder(request(before), Context({"partition-id": client}, {}), client_of(task))
    recipe = Recipe(**{**LOCAL, "optimizer": read_recording(tmp_path / "rec/client-0/round-3").facts.recipe.optimizer})
    for client in range(2):
        net = task.Net()
        net.load_state_dict(before)
        batch = Batch(*task.share_of(client, 8))
        step = local_update(net, batch, recipe, MeanGradient(recipe.loss), stream(0), order_of(8, client)).step
        after = {name: before[name] + part for name, part in step.items()}
        sent = read_recording(tmp_path / f"rec/client-{client}/round-3").sent
        assert all(torch.equal(sent[name] - before[name], part) for name, part in step.items())
        seethrough.record(
            tmp_path / "own" / str(client),
            before,
            after,
            examples=8,
            recipe=recipe,
            client=str(client),
            shape=task.SHAPE,
            classes=task.CLASSES,
            truth=task.share_of(client, 8),
        )
    found = []
    for folder in ("rec", "own"):
        spec = {
            "name": folder,
            "trials": 2,
            "settings": [{"name": "s", "recording": str(tmp_path / folder), "model": "flower_digits.task:build"}],
            "threats": [{"name": "server"}],
            "defenses": ["none"],
            "attacks": [{"inverting_gradients": {"steps": 40}}],
            "metrics": ["psnr", "label_accuracy"],
        }
        monkeypatch.chdir(EXAMPLE)
        results = seethrough.audit(spec, tmp_path / f"{folder}-out", workers=1, quiet=True)
        assert results.manifest.doubts == ()
        found.append(results.table.query("status == 'ok'").set_index(["trial", "metric"]).value)
    assert (found[0].xs("psnr", level="metric") - found[1].xs("psnr", level="metric")).abs().max() < 0.1
    labels = [each.xs("label_accuracy", level="metric") for each in found]
    assert (labels[0] == labels[1]).all() and (labels[0] > 0.5).all()


def test_only_train_messages_are_recorded_and_only_where_a_folder_is_named(task: ModuleType, tmp_path: Path):
    context = Context({"partition-id": 0}, {"record-dir": ""})
    Recorder()(request(weights_of(task)), context, client_of(task))
    Recorder(tmp_path)(request(weights_of(task), kind="evaluate"), context, lambda m, c: reply_of({}, 1))
    assert not list(tmp_path.iterdir())
    Recorder()(request(weights_of(task), kind="train.fast"), Context({}, {"record-dir": str(tmp_path)}), lambda m, c: m)
    assert [path.name for path in tmp_path.iterdir()] == ["client-77"]


def test_a_folder_that_is_not_absolute_is_refused(task: ModuleType):
    with pytest.raises(InputError, match="allowed: an absolute one"):
        Recorder("recordings")(request(weights_of(task)), Context({}, {}), client_of(task))


def test_what_cannot_be_recorded_is_logged_and_the_reply_goes_out(
    task: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    several = Message(Content({"one": Arrays(weights_of(task)), "two": Arrays()}, {"config": {"server-round": 1}}))
    reply = reply_of(weights_of(task), 8)
    assert Recorder(tmp_path)(several, Context({}, {}), lambda m, c: reply) is reply
    assert "not recorded: found no ArrayRecord, or several" in caplog.text
    assert not list(tmp_path.iterdir())
    failed = Message(Content(), error=True)
    assert Recorder(tmp_path)(request(weights_of(task)), Context({}, {}), lambda m, c: failed) is failed
