"""The boundary between the referee and the attacker: what is not granted is not there."""

import ast
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seethrough.attacks import IndexLists, Seen, Space, Sum, View
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import stream
from seethrough.audit.threat import MEANING, ThreatModel, view_of, view_of_model
from seethrough.defenses import Batch, NoDefense, NotApplicableError
from seethrough.defenses.parts.chain import Chain
from seethrough.defenses.parts.mixture import Mixture
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.defenses.top_k import TopK
from seethrough.federation.client import batchnorm_layers
from seethrough.federation.rounds import Round, simulate_round
from seethrough.recipes import Recipe
from seethrough.reports.row import Sight

SPACE = Space((1, 12, 12), 5)
PUBLIC = Batch(torch.zeros(3, 1, 12, 12), torch.tensor([0, 1, 2]))


def round_of(mode: str = "eval", clients: int = 1, defense=None, batchnorm: bool = True, number: int = 0) -> Round:
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=batchnorm).build(SPACE).train(mode == "train")
    batches = tuple(Batch(torch.rand(2, 1, 12, 12), torch.tensor([4 - i, i])) for i in range(clients))
    return simulate_round(
        model, batches, Recipe(), defense or NoDefense(), tuple(stream(i) for i in range(clients + 1)), number
    )


def view(threat: ThreatModel, *simulated: Round):
    return view_of(threat, simulated, Recipe(), NoDefense(), SPACE, PUBLIC)


def test_earlier_rounds_are_seen_in_their_order_as_copies_or_not_at_all():
    first, second, last = (round_of(clients=count) for count in (1, 2, 1))
    seen = view(ThreatModel(name="t", grants=("past",)), first, second, last)
    for old, simulated in zip(seen.past, (first, second), strict=True):
        for name, part in simulated.aggregate.seen[0].step.items():
            assert torch.equal(old.update[name], part) and old.update[name].data_ptr() != part.data_ptr()
        assert old.model is not simulated.model
    assert view(ThreatModel(name="t", grants=("count",)), first, last).past is None


@pytest.mark.parametrize("fact", list(MEANING))
def test_each_fact_is_there_if_granted_and_none_if_not(fact: str):
    simulated = round_of()
    assert getattr(view(ThreatModel(name="t", grants=(fact,)), simulated), fact) is not None
    rest = tuple(other for other in MEANING if other != fact)
    assert getattr(view(ThreatModel(name="t", grants=rest), simulated), fact) is None


def test_no_tensor_of_a_view_shares_memory_with_the_referees():
    simulated = round_of()
    seen = view(ThreatModel(name="t", grants=tuple(MEANING), batchnorm="exact"), simulated)
    referee = [
        *simulated.model.state_dict().values(),
        *simulated.aggregate.seen[0].step.values(),
        PUBLIC.inputs,
        PUBLIC.labels,
    ]
    referee += [
        *simulated.aggregate.seen[0].buffers.values(),
        *(t for b in simulated.batches for t in (b.inputs, b.labels)),
    ]
    theirs = {tensor.data_ptr() for tensor in referee}
    ours = [*seen.model.state_dict().values(), *seen.update.values(), *seen.buffers.values(), seen.labels]
    ours += [seen.public.inputs, seen.public.labels]
    assert not theirs & {tensor.data_ptr() for tensor in ours}


def test_granted_labels_come_in_no_telling_order():
    assert view(ThreatModel(name="t", grants=("labels",)), round_of()).labels.tolist() == [0, 4]


def test_batchnorm_statistics_are_hidden_running_or_exact():
    simulated = round_of(mode="train")
    hidden = view(ThreatModel(name="t", batchnorm="hidden"), simulated)
    running = view(ThreatModel(name="t", batchnorm="running"), simulated)
    exact = view(ThreatModel(name="t", batchnorm="exact"), simulated)
    assert hidden.buffers is None
    assert torch.equal(running.buffers["1.running_mean"], simulated.model[1].running_mean)
    assert torch.equal(exact.buffers["1.running_mean"], simulated.aggregate.seen[0].buffers["1.running_mean"])
    assert not torch.equal(exact.buffers["1.running_mean"], running.buffers["1.running_mean"])


def test_hidden_running_statistics_are_not_in_the_model_either():
    simulated = round_of(mode="train")
    with torch.no_grad():
        simulated.model[1].running_mean += 3.0
    assert view(ThreatModel(name="t", batchnorm="hidden"), simulated).model[1].running_mean.eq(0).all()


def test_statistics_that_eval_mode_computes_with_cannot_be_hidden():
    with pytest.raises(NotApplicableError, match="eval mode"):
        view(ThreatModel(name="t", batchnorm="hidden"), round_of(mode="eval"))


def test_a_model_without_batchnorm_has_no_statistics_to_grant():
    assert view(ThreatModel(name="t", batchnorm="exact"), round_of(batchnorm=False)).buffers is None


def test_under_secure_aggregation_the_server_sees_only_the_cohorts_mean():
    defense = SecureAggregation(clients=2)
    simulated = round_of(clients=2, defense=defense)
    plain = round_of(clients=2)
    seen = view(ThreatModel(name="t", grants=tuple(MEANING)), simulated)
    assert (seen.count, seen.participants, seen.labels.tolist()) == (4, 2, [0, 1, 3, 4])
    for name, step in seen.update.items():
        mean = (plain.aggregate.seen[0].step[name] + plain.aggregate.seen[1].step[name]) / 2
        assert torch.allclose(step, mean, atol=1e-5), name
    assert not torch.allclose(seen.update["0.weight"], plain.aggregate.seen[0].step["0.weight"], atol=1e-5)


def test_who_dropped_out_before_masking_is_not_behind_what_the_server_sees():
    simulated = round_of(clients=2, defense=SecureAggregation(clients=3))
    seen = view(ThreatModel(name="t", grants=tuple(MEANING)), simulated)
    assert (seen.count, seen.participants, seen.labels.tolist()) == (4, 2, [0, 1, 3, 4])
    assert len(simulated.victims()) == 2 and "2 of 3 clients" in simulated.aggregate.note


def test_the_server_knows_how_many_rounds_gave_it_nothing():
    rounds = (round_of(number=1), round_of(number=4))
    assert view(ThreatModel(name="t", grants=("past",)), *rounds).aborted == 3
    assert view(ThreatModel(name="t", grants=("count",)), *rounds).aborted is None


def test_a_client_alone_in_the_sum_is_seen_as_one():
    alone = SecureAggregation(clients=3, reconstruction_threshold=1)
    simulated, plain = round_of(clients=1, defense=alone), round_of(clients=1)
    unordered = tuple(fact for fact in MEANING if fact != "order")
    seen = view(ThreatModel(name="t", grants=unordered), simulated)
    assert (seen.count, seen.participants, seen.labels.tolist()) == (2, 1, [0, 4])
    for name, step in seen.update.items():
        assert torch.allclose(step, plain.aggregate.seen[0].step[name], atol=1e-5), name


def test_the_sentences_name_every_fact_once_as_granted_or_withheld():
    _, granted, withheld = ThreatModel(name="t", grants=("count", "public")).sentences()
    for fact, words in MEANING.items():
        assert (words in granted) == (fact in ("count", "public"))
        assert (words in withheld) == (fact not in ("count", "public"))


def test_only_the_threat_model_makes_views():
    makers = set()
    for package in ("attacks", "audit", "common", "defenses", "federation", "recipes", "reports"):
        for file in (Path(__file__).parents[1] / package).rglob("*.py"):
            calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
            if any(isinstance(call, ast.Name) and call.id == "View" for call in calls):
                makers.add(f"{package}/{file.name}")
    assert makers == {"audit/threat.py"}


ALL = ThreatModel(name="t", grants=tuple(MEANING), batchnorm="exact")
SUMMED = Chain((TopK(share=0.1), SecureAggregation(clients=2, index_lists=True)))


def sums_of(*members: tuple[int, ...]) -> tuple[Round, ...]:
    """Rounds in which the server reads sums of these clients."""
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=True).build(SPACE).train()
    streams = tuple(stream(i) for i in range(3))
    return tuple(
        simulate_round(
            model,
            tuple(Batch(torch.rand(2, 1, 12, 12), torch.tensor([4 - client % 4, client % 4])) for client in clients),
            Recipe(),
            SUMMED,
            streams,
            number,
            clients,
        )
        for number, clients in enumerate(members)
    )


def tensors_of(seen: View) -> list[torch.Tensor]:
    """Every tensor that a view holds, on whatever path."""
    found: list[torch.Tensor] = []

    def walk(value: object) -> None:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, torch.nn.Module):
            found.extend(value.state_dict().values())
        elif isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, tuple):
            for each in value:
                walk(each)
        elif isinstance(value, Batch | Seen | Sum | IndexLists | View):
            for field in dataclasses.fields(value):
                if field.name != "order":  # places in a batch, on the CPU everywhere
                    walk(getattr(value, field.name))

    walk(seen)
    return found


@pytest.mark.parametrize("rounds", [lambda: (round_of(mode="train"),) * 2, lambda: sums_of((0, 1), (0, 2), (0, 1))])
def test_every_tensor_of_a_view_is_a_copy_on_the_device_of_the_attack(rounds: Callable[[], tuple[Round, ...]]):
    simulated = rounds()
    seen = view_of(ALL, simulated, Recipe(), SUMMED, SPACE, PUBLIC, torch.device("meta"))
    assert {tensor.device.type for tensor in tensors_of(seen)} == {"meta"}
    here = view_of(ALL, simulated, Recipe(), SUMMED, SPACE, PUBLIC)
    assert {tensor.device.type for tensor in tensors_of(here)} == {"cpu"} and len(tensors_of(here)) > 20
    theirs = {t.data_ptr() for each in simulated for t in each.model.state_dict().values()}
    theirs |= {t.data_ptr() for each in simulated for t in (*each.read().step.values(), *each.read().buffers.values())}
    theirs |= {t.data_ptr() for each in simulated for sent in each.aggregate.sent for t in sent.values()}
    assert not theirs & {tensor.data_ptr() for tensor in tensors_of(here)}


@pytest.mark.parametrize("fresh", [False, True])
def test_of_earlier_rounds_it_sees_what_it_sees_of_the_last(fresh: bool):
    first, last = round_of(mode="train"), round_of(mode="train", number=1)
    seen = view_of(ALL, (first, last), Recipe(), NoDefense(), SPACE, PUBLIC, fresh=fresh)
    (old,) = seen.past
    assert old.fresh is fresh and old.order == first.orders[0] and old.labels.tolist() == [4, 0]
    assert torch.equal(old.buffers["1.running_mean"], first.read().buffers["1.running_mean"])
    unordered = ThreatModel(name="t", grants=("labels", "past"), batchnorm="hidden")
    again = view_of(unordered, (first, last), Recipe(), NoDefense(), SPACE, PUBLIC)
    (old,) = again.past
    assert again.space == SPACE and old.fresh is False
    assert (old.order, old.buffers, old.labels.tolist()) == (None, None, [0, 4])
    assert old.model[1].running_mean.eq(0).all()
    (old,) = view_of(ThreatModel(name="t", grants=("past",)), (first, last), Recipe(), NoDefense(), SPACE, PUBLIC).past
    assert (old.order, old.labels) == (None, None)


def test_the_own_order_of_labels_is_seen_by_who_is_granted_it_and_reads_one_client_alone():
    both, labels = ThreatModel(name="t", grants=("labels", "order")), ThreatModel(name="t", grants=("labels",))
    alone, (summed,) = round_of(), sums_of((0, 1))
    assert view(both, alone).labels.tolist() == [4, 0] and view(both, alone).order == alone.orders[0]
    assert view(labels, alone).labels.tolist() == [0, 4] and view(labels, alone).order is None
    assert view(both, summed).labels.tolist() == [0, 1, 3, 4] and view(both, summed).order is None


@pytest.mark.parametrize("fresh", [False, True])
def test_sums_over_changing_clients_are_seen_with_who_was_in_them(fresh: bool):
    simulated = sums_of((0, 1), (1, 2), (2, 0), (0, 2))
    seen = view_of(ALL, simulated, Recipe(), SUMMED, SPACE, PUBLIC, fresh=fresh)
    assert [each.members for each in seen.sums] == [(0, 1), (1, 2), (2, 0), (0, 2)]
    assert {each.fresh for each in seen.sums} == {fresh}
    assert [None if each.labels is None else each.labels.tolist() for each in seen.sums] == [[0, 4], None, None, [0, 4]]
    for each, played in zip(seen.sums, simulated, strict=True):
        assert all(torch.equal(part, played.read().step[name]) for name, part in each.update.items())
    assert seen.past == ()  # of the very same clients there is no earlier round
    blind = ThreatModel(name="t", grants=("count", "past"))
    assert {each.labels for each in view(blind, *simulated).sums} == {None}


def test_sums_over_the_same_clients_and_what_is_read_alone_are_earlier_rounds_and_no_sums():
    same, clear = sums_of((0, 1), (0, 1)), (round_of(), round_of(clients=2), round_of())
    assert view(ALL, *same).sums is None and len(view(ALL, *same).past) == 1
    assert view(ALL, *clear).sums is None
    changing = sums_of((0, 2), (0, 1), (0, 1))
    assert len(view(ALL, *changing).sums) == 3 and len(view(ALL, *changing).past) == 1
    assert view(ThreatModel(name="t", grants=("labels",)), *changing).sums is None


def test_index_lists_are_those_of_the_last_round_with_the_own_labels_if_granted():
    first, last = sums_of((0, 1), (0, 2))
    lists = view(ALL, first, last).lists
    assert len(lists.sent) == 2 and lists.labels.tolist() == [0, 4]
    for shown, sent in zip(lists.sent, last.aggregate.sent, strict=True):
        assert all(torch.equal(shown[name], part) for name, part in sent.items()) and set(shown) == set(sent)
    assert view(ThreatModel(name="t", grants=("count",)), first, last).lists.labels is None
    assert view(ALL, round_of()).lists is None


def test_where_clients_differ_it_knows_what_the_one_under_attack_does():
    mixed = Mixture((0.5, 0.5), (TopK(share=0.1), NoDefense()))
    known = view_of(ALL, (round_of(),), Recipe(), mixed, SPACE, PUBLIC).defense
    assert known == TopK(share=0.1)


def test_who_tries_a_model_out_sees_that_and_an_update_alone():
    simulated = round_of()
    seen = view_of_model(simulated.model, simulated.read().step, SPACE)
    granted = {field.name for field in dataclasses.fields(seen) if getattr(seen, field.name) is not None}
    assert granted == {"model", "update", "space"}
    assert (seen.model, seen.update, seen.space) == (simulated.model, simulated.read().step, SPACE)


@pytest.mark.parametrize(
    ("batchnorm", "training", "rounds", "layers", "shown"),
    [
        ("exact", False, 1, True, True),
        ("exact", True, 1, False, False),
        ("running", True, 2, True, True),
        ("running", True, 1, True, False),
        ("running", False, 2, True, False),
        ("running", True, 2, False, False),
        ("hidden", True, 2, True, False),
    ],
)
def test_batch_statistics_are_seen_as_sent_or_once_a_round_moved_the_running_ones(
    batchnorm: str, training: bool, rounds: int, layers: bool, shown: bool
):
    model = ConvNet(width=4, batchnorm=layers).build(SPACE).train(training)
    assert ThreatModel(name="t", batchnorm=batchnorm).shows_batch_statistics(model, rounds) is shown


def test_what_is_granted_and_withheld_is_said_in_full_and_in_short():
    some = ThreatModel(name="s", grants=("count", "past"))
    assert some.sight() == Sight(
        "s",
        ("number of examples", "earlier rounds", "running BatchNorm"),
        ("labels", "training recipe", "order of examples", "the defense", "public data", "number of clients"),
    )
    assert some.sentences() == (
        "The server follows the protocol and is curious: it broadcasts the model, so it knows architecture and weights, "
        "and reads each client's update, or only the cohort's sum under secure aggregation.",
        "It may also use: the number of examples behind the update it reads; what it read in earlier rounds, if there were "
        "any, who took part, and the models broadcast then; the running BatchNorm statistics of the broadcast model.",
        "Withheld from it: the labels of those examples, in no order unless that is granted; how clients train: loss, "
        "optimizer, rates, batches and their number; in which order the client whose update it reads takes its examples; "
        "which defense the clients use, with its parameters; public data of the same kind as the private data; the number "
        "of clients behind the update it reads.",
    )
    nothing = ThreatModel(name="n", grants=(), batchnorm="hidden")
    assert nothing.sight().granted == () and nothing.sight().withheld[-1] == "BatchNorm"
    assert "no BatchNorm statistics (they stay with the clients)" in nothing.sentences()[1]
    assert ALL.sight().granted[-1] == "exact BatchNorm" and ALL.sight().withheld == ()
    assert ALL.sentences()[2] == "Withheld from it: nothing of what seethrough can grant."
    assert "the BatchNorm statistics of the very batch behind the update" in ALL.sentences()[1]


def test_a_fact_that_there_is_not_is_taken_out_and_the_others_stay():
    assert ThreatModel(name="t", grants=("count", "recipe", "past")).without("recipe").grants == ("count", "past")
    assert ALL.without("labels").name == "t" and ALL.without("labels").batchnorm == "exact"


def test_every_layers_statistics_are_hidden_and_all_are_granted():
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=True).build(SPACE).train()
    layers = batchnorm_layers(model)
    assert len(layers) > 1
    for layer in layers.values():
        layer.running_mean += 3.0
        layer.running_var += 2.0
    batch = Batch(torch.rand(2, 1, 12, 12), torch.tensor([1, 2]))
    simulated = simulate_round(model, (batch,), Recipe(), NoDefense(), (stream(0), stream(1)))
    hidden, shown = (view(ThreatModel(name="t", batchnorm=each), simulated) for each in ("hidden", "running"))
    for name, layer in layers.items():
        assert hidden.model.get_submodule(name).running_mean.eq(0).all() and layer.running_mean.ne(0).all()
        assert torch.equal(shown.buffers[f"{name}.running_var"], layer.running_var)
    assert set(shown.buffers) == {f"{name}.running_{part}" for name in layers for part in ("mean", "var")}
    said = "in eval mode the broadcast model computes with its running BatchNorm statistics, so they cannot be hidden"
    with pytest.raises(NotApplicableError, match=f"^{said}$"):
        view(ThreatModel(name="t", batchnorm="hidden"), round_of(mode="eval"))
