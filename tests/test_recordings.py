"""Recorded updates: written, read, doubted and attacked; and a dozen that are wrong, each answered with a sentence."""

import copy
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import seethrough
from seethrough.attacks import Space
from seethrough.audit.case import Case, received
from seethrough.audit.cli import main
from seethrough.audit.data.digits import Digits
from seethrough.audit.models import bare
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.plan import make_plan
from seethrough.audit.recorded_trial import played_back
from seethrough.audit.recordings.cohort import rounds_of
from seethrough.audit.recordings.importing import imported
from seethrough.audit.recordings.settings import filled_in
from seethrough.audit.recordings.starter import starter_for
from seethrough.audit.recordings.write import record
from seethrough.audit.run import run_audit
from seethrough.audit.specification.file import load_spec, spec_from
from seethrough.common.errors import InputError
from seethrough.defenses import Batch, MeanGradient
from seethrough.federation.client import local_update
from seethrough.recipes import Recipe

SPACE = Space((1, 28, 28), 10)
RECIPE = {"steps": 4, "lr": 0.05, "batch_size": 2, "optimizer": {"sgd": {"momentum": 0.9}}}


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ConvNet(width=4).build(SPACE)


def examples(start: int = 0, count: int = 4) -> Batch:
    """Digits in an order in which each half is of mixed classes, as an attacker supposes it of local batches."""
    return Digits().load().batch(torch.arange(start, start + count).view(2, -1).T.flatten())


def trained(model: nn.Module, batch: Batch, lr: float = 0.05) -> nn.Module:
    """What RECIPE makes of the model, by a plain loop."""
    local = copy.deepcopy(model)
    steps = torch.optim.SGD(local.parameters(), lr=lr, momentum=0.9)
    for number in range(4):
        part = slice(0, 2) if number % 2 == 0 else slice(2, 4)
        steps.zero_grad()
        F.cross_entropy(local(batch.inputs[part]), batch.labels[part]).backward()
        steps.step()
    return local


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in bare(model).state_dict().items()}


def recorded(place: Path, before: Any = None, after: Any = None, **facts: Any) -> Path:
    before = weights(network()) if before is None else before
    after = weights(trained(network(), examples())) if after is None else after
    known = {"examples": 4, "recipe": RECIPE, "shape": SPACE.shape, "classes": SPACE.classes}
    return record(place, before, after, **{**known, **facts})


def spec_for(place: Path, **more: Any) -> dict[str, Any]:
    setting = {"name": "as recorded", "recording": str(place), "data": "digits", "model": {"convnet": {"width": 4}}}
    return {
        "name": "recorded",
        "trials": more.pop("trials", 1),
        "settings": [{**setting, **more.pop("setting", {})}],
        "threats": [{"name": "server", **more.pop("threat", {})}],
        "defenses": more.pop("defenses", ["none"]),
        "attacks": more.pop("attacks", ["label_counts"]),
        "metrics": more.pop("metrics", ["label_accuracy", "psnr"]),
    }


def run(place: Path, out: Path, **more: Any) -> seethrough.Results:
    return seethrough.audit(spec_for(place, **more), out, workers=1, quiet=True)


def test_a_recording_is_found_again_as_it_was_written(tmp_path: Path):
    place = recorded(tmp_path / "rec", client="hospital 3", round=7, truth=(examples().inputs, examples().labels))
    facts = json.loads((place / "recording.json").read_text())
    assert facts["client"] == "hospital 3" and facts["round"] == 7 and facts["examples"] == 4
    assert facts["recipe"] == RECIPE and facts["shape"] == [1, 28, 28]
    assert sorted(path.name for path in place.iterdir()) == [
        "before.safetensors",
        "recording.json",
        "sent.safetensors",
        "truth.npz",
    ]
    sent = load_file(place / "sent.safetensors")
    assert all(torch.equal(sent[name], part) for name, part in weights(trained(network(), examples())).items())


def test_labels_and_images_come_back_from_a_recorded_update_as_from_a_client_of_ours(tmp_path: Path):
    """The recorded update is the one that our own client makes of the same images, so the attack finds the same."""
    truth = (examples().inputs, examples().labels)
    place = recorded(tmp_path / "rec", truth=truth)
    attacks = ["label_counts", {"inverting_gradients": {"steps": 30}}]
    found = run(place, tmp_path / "out", attacks=attacks).table
    assert (found[found.metric == "label_accuracy"].value == 1.0).all()
    (explained,) = found[(found.metric == "explained") & (found.status == "ok")].itertuples()
    assert explained.value > 0.5 and "better than" in explained.note


def test_without_the_truth_labels_and_the_p_value_remain(tmp_path: Path):
    place = recorded(tmp_path / "rec")
    results = run(place, tmp_path / "out", attacks=["label_counts", {"inverting_gradients": {"steps": 30}}])
    unscored = results.table[results.table.metric == "label_accuracy"]
    labels = sorted(examples().labels.tolist())
    assert all("the recording holds no truth" in note for note in unscored.note) and set(unscored.status) == {
        "unavailable"
    }
    told = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert set(told.client) == {"client"}
    for _, found in told.groupby("attack"):
        assert dict(zip(found["class"], found["count"], strict=True)) == {
            f"class {label}": labels.count(label) for label in set(labels)
        }
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Labels that were found" in page and "2 of class 0" not in page
    assert results.table[results.table.metric == "explained"].value.max() > 0.5
    assert "p = " in (tmp_path / "out" / "index.html").read_text()
    assert "no truth" in " ".join(results.manifest.limits)
    assert results.verdict.startswith("What was found explains the recorded updates better than public images do")


def test_an_update_of_other_images_is_not_explained_by_images_that_were_not_found_in_it(tmp_path: Path):
    """Of noise there is nothing to be found: the p-value is not small."""
    noise = {name: part + 1e-3 * torch.randn(part.shape) for name, part in weights(network()).items()}
    torch.manual_seed(0)
    place = recorded(tmp_path / "rec", after=noise)
    results = run(place, tmp_path / "out", attacks=[{"inverting_gradients": {"steps": 30}}])
    (row,) = results.table[results.table.metric == "explained"].itertuples()
    assert row.value < 0.2
    assert results.manifest.doubts


def test_several_clients_are_trials_and_several_rounds_are_past(tmp_path: Path):
    model = network()
    for client in range(3):
        before = model
        for number in (1, 2):
            after = trained(before, examples(4 * client))
            truth = (examples(4 * client).inputs, examples(4 * client).labels)
            folder = tmp_path / "all" / f"c{client}" / f"r{number}"
            recorded(folder, weights(before), weights(after), client=f"c{client}", round=number, truth=truth)
            before = after
    found = run(tmp_path / "all", tmp_path / "out", trials=8).table
    rows = found[found.metric == "label_accuracy"]
    assert len(rows) == 3 and (rows.value == 1.0).all()


def test_a_defense_is_tried_on_what_was_sent_and_one_that_trains_is_not_applicable(tmp_path: Path):
    defenses = ["none", {"clipping": {"max_norm": 1e-3}}, {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0}}]
    truth = (examples().inputs, examples().labels)
    results = run(recorded(tmp_path / "rec", truth=truth), tmp_path / "out", defenses=defenses)
    assert any("so dp_sgd(" in limit and "cannot be tried on it" in limit for limit in results.manifest.limits)
    found = results.table
    states = dict(
        zip(
            found[found.metric == "label_accuracy"].defense, found[found.metric == "label_accuracy"].status, strict=True
        )
    )
    assert [state for name, state in states.items() if "dp_sgd" in name] == ["n/a"]
    assert [state for name, state in states.items() if "dp_sgd" not in name] == ["ok", "ok"]


def clients_of_one_round(place: Path, count: int, **differs: Any) -> Path:
    for client in range(count):
        batch = examples(4 * client)
        folder = place / f"c{client}"
        recorded(
            folder, client=f"c{client}", after=weights(trained(network(), batch)), truth=tuple(vars(batch).values())
        )
    return place


def test_recorded_clients_of_a_round_are_summed_as_clients_of_ours_are(tmp_path: Path):
    """The server reads the mean of their steps alone, and each trial attacks another of them."""
    place = clients_of_one_round(tmp_path / "all", 3)
    sums = [{"secure_aggregation": {"clients": count}} for count in (3, 4)]
    metrics = ["label_accuracy", "cohort_labels", "psnr"]
    results = run(place, tmp_path / "out", defenses=["none", *sums], trials=3, metrics=metrics)
    found = results.table.set_index(["defense", "metric"])
    alone, summed, more = results.table.defense.unique()
    assert (found.loc[(alone, "cohort_labels")].status == "n/a").all()
    assert (found.loc[(summed, "cohort_labels")].value == 1.0).all() and len(found.loc[(summed, "cohort_labels")]) == 3
    assert (found.loc[(summed, "cohort_labels")].n == 12).all()
    assert (found.loc[(more, "cohort_labels")].status == "n/a").all()
    assert any("combines 4 clients and as recorded holds 3" in limit for limit in results.manifest.limits)


def test_what_is_read_of_recorded_clients_is_the_mean_of_their_steps(tmp_path: Path):
    place = clients_of_one_round(tmp_path / "all", 3)
    spec = filled_in(spec_from({**spec_for(place), "defenses": [{"secure_aggregation": {"clients": 3}}]}))
    (setting,), (defense,) = spec.settings, spec.defenses
    case = Case(0, 1, setting, spec.threats[0], defense, spec.attacks[0], ())
    members = rounds_of(setting, 1, 3)
    assert [[each.client for each in round_] for round_ in members] == [[1, 2, 0]]
    read = played_back(case, members[-1], ()).read()
    steps = [
        {name: part - weights(network())[name] for name, part in weights(trained(network(), examples(4 * k))).items()}
        for k in range(3)
    ]
    for name, part in read.step.items():
        mean = sum(step[name.removeprefix("net.")] for step in steps) / 3
        assert torch.allclose(part, mean, atol=2e-6), name
    assert read.count == 12


def test_recorded_clients_who_did_not_train_together_are_not_summed(tmp_path: Path):
    place = clients_of_one_round(tmp_path / "all", 2)
    other = network(1)
    recorded(place / "c2", weights(other), weights(trained(other, examples(8))), client="c2")
    recorded(place / "c3", client="c3", round=5)
    defense = [{"secure_aggregation": {"clients": 2}}]
    found = run(place, tmp_path / "out", defenses=defense, trials=4, metrics=["cohort_labels"]).table
    notes = found[found.metric == "cohort_labels"].note.tolist()
    assert "these started from different weights" in notes[1]
    assert "1 of them were recorded in round 1" in notes[2]
    assert "1 of them were recorded in round 5" in notes[3]


# ---- a dozen wrong ones


def renamed(parts: dict[str, Tensor], order: list[int]) -> list[Tensor]:
    values = list(parts.values())
    return [values[place] for place in order]


def transposed(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    last = max(name for name in parts if name.endswith("weight"))
    return {name: part.T.contiguous() if name == last else part for name, part in parts.items()}


def poisoned(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    first = next(iter(parts))
    return {name: part * torch.nan if name == first else part for name, part in parts.items()}


BEFORE, AFTER = weights(network()), weights(trained(network(), examples()))
LAST = [name for name in AFTER if name.endswith("weight")][-1]
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other layer order": (
        lambda place: recorded(place, list(BEFORE.values()), renamed(AFTER, [2, 1, 0, 3, 4, 5, 6, 7])),
        r"`0.weight` of shape \[8, 4, 3, 3\] where the model has \[4, 1, 3, 3\]",
    ),
    "NaN": (lambda place: recorded(place, after=poisoned(AFTER)), "NaN or infinity in '0.weight'"),
    "zeros": (lambda place: recorded(place, after=BEFORE), "an update of zeros"),
    "a missing layer": (
        lambda place: recorded(place, after={name: part for name, part in AFTER.items() if name != LAST}),
        f"found no `{LAST}`; allowed: every parameter that trains",
    ),
    "a transposed matrix": (
        lambda place: recorded(place, after=transposed(AFTER)),
        r"which is the same transposed",
    ),
    "buffers only": (
        lambda place: recorded(place, after={"1.running_mean": torch.zeros(4), "1.running_var": torch.ones(4)}),
        "only buffers",
    ),
    "weights that were exchanged later": (
        lambda place: save_file(weights(network(1)), recorded(place) / "before.safetensors"),
        "other weights than those that were recorded",
    ),
    "a client that says it started elsewhere": (
        lambda place: recorded(place, started_from="0" * 64),
        "started from other weights",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_attacked_is_refused_with_one_sentence_and_exit_code_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    make, sentence = REFUSED[name]
    make(tmp_path / "rec")
    (tmp_path / "spec.yaml").write_text(json.dumps(spec_for(tmp_path / "rec")))
    monkeypatch.setattr("sys.argv", ["seethrough", "run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        main()
    told = capfd.readouterr().err
    assert stopped.value.code == 2 and "Traceback" not in told
    assert len(told.strip().split("\n")) == 1
    with pytest.raises(InputError, match=sentence):
        seethrough.audit(spec_for(tmp_path / "rec"), tmp_path / "again", quiet=True)
    assert not (tmp_path / "out").exists()


def averaged(*models: nn.Module) -> dict[str, Tensor]:
    states = [weights(model) for model in models]
    return {name: sum(state[name] for state in states) / len(states) for name in states[0]}


def half(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part.half() for name, part in parts.items()}


TRUTH = (examples().inputs, examples().labels)
ELSE = (examples(40).inputs, examples(40).labels)
DOUBTED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "other weights": (
        lambda place: recorded(place, before=weights(network(1))),
        "the step has length .* or the weights are others than recorded",
    ),
    "float16": (lambda place: recorded(place, half(BEFORE), half(AFTER)), "what was sent is float16"),
    "the update of another round": (
        lambda place: recorded(
            place, weights(trained(network(), examples(8))), weights(trained(network(), examples())), truth=TRUTH
        ),
        "do not belong together|gives a step of cosine",
    ),
    "averaged over clients": (
        lambda place: recorded(
            place, after=averaged(*(trained(network(), examples(4 * i)) for i in range(5))), truth=TRUTH
        ),
        "of steps or of examples, or the weights are others than recorded, or something was done to the update",
    ),
    "a learning rate off by ten": (
        lambda place: recorded(place, after=weights(trained(network(), examples(), lr=0.005))),
        "the learning rate, the number of steps",
    ),
    "the truth of another batch": (lambda place: recorded(place, truth=ELSE), "the truth of another update"),
    "another optimizer": (
        lambda place: recorded(place, after={n: BEFORE[n] - 1e-3 * (AFTER[n] < BEFORE[n]) for n in AFTER}),
        "SGD of a cross-entropy never does",
    ),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_what_may_be_wrong_is_a_finding_on_the_page(name: str, tmp_path: Path):
    make, sentence = DOUBTED[name]
    make(tmp_path / "rec")
    results = run(tmp_path / "rec", tmp_path / "out")
    doubts = " ".join(results.manifest.doubts)
    assert re.search(sentence, doubts), doubts
    assert "What is to be doubted of the recordings" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize("seed", range(8))
def test_a_recording_that_is_right_raises_no_doubt(seed: int, tmp_path: Path):
    batch = examples(100 + 4 * seed)
    after = weights(trained(network(seed), batch))
    recorded(tmp_path / "rec", weights(network(seed)), after, truth=(batch.inputs, batch.labels))
    assert run(tmp_path / "rec", tmp_path / "out").manifest.doubts == ()


@pytest.mark.parametrize(("precision", "kept"), [("float32", False), ("float64", True)])
def test_a_recording_in_double_precision_is_attacked_as_exactly_as_the_setting_says(
    precision: str, kept: bool, tmp_path: Path
):
    before, rng = weights(network().double()), torch.Generator().manual_seed(1)
    step = {name: 1e-3 * torch.randn(part.shape, generator=rng, dtype=part.dtype) for name, part in before.items()}
    after = {name: part + step[name] for name, part in before.items()}
    place = recorded(tmp_path / "rec", before, after)
    spec = filled_in(spec_from(spec_for(place, setting={"precision": precision})))
    got = received(spec.settings[0], 0, 0, 0)
    exact = {name: after[name] - part for name, part in before.items()}
    assert all(torch.equal(part.double(), exact[name.removeprefix("net.")]) for name, part in got.step.items()) == kept
    assert any("float64" in doubt for doubt in got.doubts) == (not kept)
    scores = run(
        place, tmp_path / "out", setting={"precision": precision}, attacks=[{"inverting_gradients": {"steps": 2}}]
    )
    assert scores.cells[0].status == "ok"


@pytest.mark.parametrize("seed", range(6))
def test_the_truth_of_a_client_that_shuffled_is_not_doubted(seed: int, tmp_path: Path):
    """Its order is not known, and at this rate another order's step can be as far from it as other images' are."""
    recipe, batch = Recipe(epochs=1, batch_size=2, lr=1.0, shuffle=True), examples(100 + 8 * seed, 8)
    step = local_update(network(seed), batch, recipe, MeanGradient(recipe.loss), torch.Generator().manual_seed(9)).step
    model = network(seed)
    before, after = weights(model), copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in after.named_parameters():
            parameter += step[name]
    truth = (batch.inputs, batch.labels)
    recorded(tmp_path / "rec", before, weights(after), truth=truth, examples=8, recipe=recipe)
    assert not [said for said in run(tmp_path / "rec", tmp_path / "out").manifest.doubts if "another update" in said]


def test_a_doubt_stands_in_the_headline(tmp_path: Path):
    recorded(tmp_path / "rec", truth=ELSE)
    assert "there is doubt of it" in run(tmp_path / "rec", tmp_path / "out").verdict
    recorded(tmp_path / "sound", truth=TRUTH)
    assert "doubt" not in run(tmp_path / "sound", tmp_path / "again").verdict


def test_one_recording_is_too_few_for_a_leak_and_the_page_says_so(tmp_path: Path):
    recorded(tmp_path / "rec", truth=TRUTH)
    attacks = ["label_counts", {"inverting_gradients": {"steps": 30}}]
    results = run(tmp_path / "rec", tmp_path / "out", attacks=attacks)
    assert "so few batches cannot show whether an attack turns it into a leak" in results.verdict
    assert "label_accuracy inconclusive, needs" in (tmp_path / "out" / "results.md").read_text()


def test_a_guess_at_the_number_of_examples_is_said_to_be_one(tmp_path: Path):
    recorded(tmp_path / "rec", examples=None)
    doubts = run(tmp_path / "rec", tmp_path / "out", setting={"batch_size": 4}).manifest.doubts
    assert "do not say how many examples" in " ".join(doubts)


def test_public_data_that_are_not_there_are_named_with_their_field(tmp_path: Path):
    recorded(tmp_path / "rec")
    with pytest.raises(InputError, match=r"the spec, settings\[0\]\.data: .*nowhere: found no folder"):
        run(tmp_path / "rec", tmp_path / "out", setting={"data": {"folder": str(tmp_path / "nowhere")}})


def test_weights_that_did_not_move_are_refused_when_they_are_imported(tmp_path: Path):
    torch.save(BEFORE, tmp_path / "before.pt")
    torch.save(list(BEFORE.values()), tmp_path / "list.pt")
    for same in ("before.pt", "list.pt"):
        with pytest.raises(InputError, match="an update of zeros"):
            imported(
                [tmp_path / "before.pt", tmp_path / same],
                tmp_path / "rec",
                sent="weights",
                client="c",
                round=1,
                **dict.fromkeys(("examples", "recipe", "shape", "classes", "truth")),
            )


def test_a_folder_that_held_another_audit_is_not_written_over_in_silence(tmp_path: Path):
    recorded(tmp_path / "rec", truth=TRUTH)
    run(tmp_path / "rec", tmp_path / "out")
    said, page = io.StringIO(), (tmp_path / "out" / "index.html").read_bytes()
    other = spec_from({**spec_for(tmp_path / "rec"), "name": "another", "seed": 5})
    consoles = Console(quiet=True), Console(file=said, width=500)
    with pytest.raises(
        InputError, match=r"measured cells? of the audit 'recorded' that this one does not have; allowed: "
    ):
        run_audit(other, tmp_path / "out", *consoles, workers=1)
    assert (tmp_path / "out" / "index.html").read_bytes() == page
    run_audit(other, tmp_path / "out", *consoles, workers=1, replaces=True)
    assert "held the tables and the page of the audit 'recorded', which had other cells" in said.getvalue()
    assert "Results were left out after they had been seen" in (tmp_path / "out" / "index.html").read_text()


def test_a_folder_that_is_not_free_is_left_alone(tmp_path: Path):
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty; allowed: a name that is free"):
        recorded(tmp_path / "rec")
    assert [path.name for path in tmp_path.rglob("*")] == ["rec", "mine.txt"]


def test_nothing_is_left_behind_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("seethrough.audit.recordings.write.write_bytes_atomically", lambda path, data: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recorded(tmp_path / "rec")
    assert not list(tmp_path.iterdir())


def kept(kind: str, folder: Path) -> tuple[Path, Path]:
    """Both sets of weights in files as people have them."""
    wrapped = {f"module.{name}": part for name, part in AFTER.items()}
    if kind == "torch.save, one of them wrapped":
        torch.save(BEFORE, folder / "before.pt")
        torch.save({"state_dict": wrapped}, folder / "after.pt")
        return folder / "before.pt", folder / "after.pt"
    if kind == "lists of arrays":
        for name, parts in (("before", BEFORE), ("after", AFTER)):
            np.savez(folder / f"{name}.npz", *(part.numpy() for part in parts.values()))
        return folder / "before.npz", folder / "after.npz"
    if kind == "compiled":
        save_file({f"_orig_mod.{name}": part for name, part in BEFORE.items()}, folder / "before.safetensors")
        save_file({f"_orig_mod.{name}": part for name, part in AFTER.items()}, folder / "after.safetensors")
        return folder / "before.safetensors", folder / "after.safetensors"
    save_file(BEFORE, folder / "before.safetensors")
    np.savez(folder / "after.npz", **{name: part.numpy() for name, part in AFTER.items()})
    return folder / "before.safetensors", folder / "after.npz"


@pytest.mark.parametrize("kind", ["torch.save, one of them wrapped", "lists of arrays", "compiled", "mixed"])
def test_files_as_people_have_them_are_imported(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    before, after = kept(kind, tmp_path)
    truth = tmp_path / "truth.npz"
    np.savez(truth, images=TRUTH[0].permute(0, 2, 3, 1).numpy(), labels=TRUTH[1].numpy())
    options = [
        "--examples",
        "4",
        "--shape",
        "1,28,28",
        "--classes",
        "10",
        "--truth",
        str(truth),
        "--recipe",
        json.dumps(RECIPE),
    ]
    command = ["seethrough", "import", str(before), str(after), "--out", str(tmp_path / "rec"), *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code, capfd.readouterr().err
    results = run(tmp_path / "rec", tmp_path / "out")
    assert results.manifest.doubts == ()
    assert (results.table[results.table.metric == "label_accuracy"].value == 1.0).all()


def test_a_spec_for_a_recording_is_written_and_names_a_model_of_ours_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with torch.random.fork_rng():
        model = ConvNet().build(SPACE)
    recorded(tmp_path / "rec", weights(model), weights(trained(model, examples())))
    monkeypatch.setattr(
        "sys.argv", ["seethrough", "new", "--recording", str(tmp_path / "rec"), str(tmp_path / "spec.yaml")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    text = (tmp_path / "spec.yaml").read_text()
    assert "model: convnet   # fits the recorded weights" in text
    assert make_plan(load_spec(tmp_path / "spec.yaml"), torch.device("cpu"), 1).manifest.doubts == ()


def test_recordings_that_cannot_be_one_setting_get_no_spec(tmp_path: Path):
    recorded(tmp_path / "recs" / "one", client="one")
    recorded(tmp_path / "recs" / "two", client="two", recipe={**RECIPE, "lr": 0.5})
    with pytest.raises(InputError, match="found recordings of different recipe"):
        starter_for(str(tmp_path / "recs"), tmp_path / "spec.yaml")


def test_a_folder_without_a_recording_is_named_with_its_place_in_the_spec(tmp_path: Path):
    with pytest.raises(InputError, match=r"settings\[0\].recording: .*nothing: found no recording.json"):
        run(tmp_path / "nothing", tmp_path / "out")


def one_too_many(logits: Tensor, labels: Tensor) -> Tensor:
    """A loss that forgets the mean."""
    return F.cross_entropy(logits, labels, reduction="none")


def test_a_loss_that_is_no_number_is_one_sentence(tmp_path: Path):
    recorded(tmp_path / "rec", recipe={**RECIPE, "loss": "tests.test_recordings:one_too_many"})
    with pytest.raises(
        InputError, match=r"local.loss: .*returned a tensor of shape \[2\]; allowed: a tensor of one number"
    ):
        seethrough.audit(spec_for(tmp_path / "rec"), tmp_path / "out", quiet=True)


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (TRUTH[0], "found a Tensor; allowed: a pair"),
        ((TRUTH[0], TRUTH[1] + 9), "allowed: 0 to 9, as there are 10 classes"),
        ((TRUTH[0][0], TRUTH[1]), "found images of shape"),
        ((TRUTH[0][:2], TRUTH[1][:2]), "found 2 examples; allowed: 4"),
    ],
)
def test_a_truth_that_cannot_be_is_one_sentence_and_nothing_is_written(truth: Any, sentence: str, tmp_path: Path):
    with pytest.raises(InputError, match=sentence):
        recorded(tmp_path / "rec", truth=truth)
    assert not (tmp_path / "rec").exists()


def test_a_recipe_that_was_not_recorded_can_be_stated_and_one_that_was_cannot_be_changed(tmp_path: Path):
    recorded(tmp_path / "rec", recipe=None, truth=TRUTH)
    stated = run(tmp_path / "rec", tmp_path / "out", setting={"local": RECIPE})
    assert stated.manifest.doubts == () and "sgd(momentum=0.9)" in " ".join(stated.manifest.settings[0].facts)
    withheld = run(tmp_path / "rec", tmp_path / "unknown")
    assert "how it trained was not recorded" in " ".join(withheld.manifest.settings[0].facts)
    recorded(tmp_path / "told")
    with pytest.raises(InputError, match="local: found another recipe than in"):
        run(tmp_path / "told", tmp_path / "no", setting={"local": {"steps": 2}})


@pytest.mark.parametrize(
    ("facts", "setting", "sentence"),
    [
        ({"shape": (1, 16, 16)}, {}, r"data: found images of shape \[1, 28, 28\]; allowed: \[1, 16, 16\], as "),
        ({"classes": 4}, {}, "data: found 10 classes; allowed: 4, as .* says"),
        ({}, {"batch_size": 8}, "batch_size: found 8; allowed: 4, as in"),
        ({}, {"rounds": 2}, "found a recording and rounds"),
        ({}, {"weights": "random"}, "a recording without weights"),
        ({"recipe": {"epoch": 1}}, {}, "recipe.epoch: found 1; allowed: the keys steps, batch_size"),
        ({"recipe": {"epochs": 1, "steps": 1}}, {}, "recipe: found .*; allowed: steps or epochs, not both"),
    ],
)
def test_what_recording_and_spec_say_differently_is_one_sentence(
    facts: dict[str, Any], setting: dict[str, Any], sentence: str, tmp_path: Path
):
    with pytest.raises(InputError, match=sentence):
        recorded(tmp_path / "rec", **facts)
        run(tmp_path / "rec", tmp_path / "out", setting=setting)
    assert not (tmp_path / "out").exists()


def test_weights_that_were_exchanged_are_doubted_without_the_truth(tmp_path: Path):
    """Where clients train for long, their steps are alike, and one that unlearns is unlike them."""
    recipe = Recipe(epochs=8, lr=0.1, batch_size=16)
    played = local_update(
        network(), examples(0, 64), recipe, MeanGradient(recipe.loss), torch.Generator().manual_seed(0)
    ).step
    before = weights(network())
    after = {name: start + played[name] if name in played else start for name, start in before.items()}
    facts = {"examples": 64, "recipe": recipe}
    recorded(tmp_path / "right", before, after, **facts)
    assert "mean cosine" not in " ".join(run(tmp_path / "right", tmp_path / "out").manifest.doubts)
    recorded(tmp_path / "exchanged", after, before, **facts)
    assert "exchanged" in " ".join(run(tmp_path / "exchanged", tmp_path / "found").manifest.doubts)


def test_numbers_in_a_recipe_are_read_as_in_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before, after = kept("mixed", tmp_path)
    command = [
        "seethrough",
        "import",
        str(before),
        str(after),
        "--out",
        str(tmp_path / "rec"),
        "--recipe",
        "{lr: 1e-3}",
    ]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert json.loads((tmp_path / "rec" / "recording.json").read_text())["recipe"] == {"lr": 1e-3}


def test_noise_in_the_place_of_recorded_updates_is_not_told_whatever_labels_the_public_has(tmp_path: Path):
    """Clients whose labels are mixed alike, and unlike the public ones, had made noise a leak in six of six audits."""
    images = Digits().load()
    labels = torch.as_tensor(images.labels)
    two = [torch.where(labels == label)[0] for label in (0, 1)]
    for number in range(6):
        batch = images.batch(torch.cat([each[2 * number : 2 * number + 2] for each in two]))
        after = weights(trained(network(), batch))
        truth = (batch.inputs, batch.labels)
        recorded(tmp_path / "rec" / str(number), after=after, truth=truth, client=f"c{number}")
    results = run(
        tmp_path / "rec", tmp_path / "out", trials=6, defenses=["none", "random_update"], metrics=["label_accuracy"]
    )
    noise = results.table[(results.table.defense == "random_update") & (results.table.status == "ok")]
    assert len(noise) == 6 and "negative control fails" not in results.verdict
    page = (tmp_path / "out" / "results.md").read_text()
    assert "Negative control: holds" in page


def test_reconstructions_of_recorded_clients_are_held_against_each_others_truths(tmp_path: Path):
    for number in range(6):
        batch = examples(40 * number)
        after = weights(trained(network(), batch))
        recorded(tmp_path / "rec" / str(number), after=after, truth=(batch.inputs, batch.labels), client=f"c{number}")
    results = run(tmp_path / "rec", tmp_path / "out", trials=6, metrics=["label_accuracy"])
    assert results.verdict.startswith("Undefended updates leak private data")
    assert "against other batches p = 0.00" in (tmp_path / "out" / "results.md").read_text()


def test_the_number_of_examples_is_that_of_the_truth_where_it_is_not_given(tmp_path: Path):
    recorded(tmp_path / "rec", examples=None, truth=TRUTH)
    assert json.loads((tmp_path / "rec" / "recording.json").read_text())["examples"] == 4


def test_a_shape_without_channels_is_answered_by_what_is_wanted(tmp_path: Path):
    with pytest.raises(InputError, match=r"shape: found \[28, 28\]; allowed: \(channels, height, width\)"):
        recorded(tmp_path / "rec", shape=(28, 28))
    assert not (tmp_path / "rec").exists()


def test_two_clients_of_one_name_are_told_to_be_named(tmp_path: Path):
    for number in range(2):
        recorded(tmp_path / "rec" / str(number))
    with pytest.raises(InputError, match="every client under its own name"):
        run(tmp_path / "rec", tmp_path / "out")
