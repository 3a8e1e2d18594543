"""The boundary between the referee and the attacker: what is not granted is not there."""

import ast
from pathlib import Path

import pytest
import torch

from seethrough.attacks import Space
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import stream
from seethrough.audit.threat import MEANING, ThreatModel, view_of
from seethrough.defenses import Batch, NoDefense, NotApplicableError
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.federation.rounds import Round, simulate_round
from seethrough.recipes import Recipe

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
