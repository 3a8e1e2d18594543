"""Sums of sparse updates with index lists in the clear: what one client alone sent is read, and nothing else is."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from seethrough.attacks import IndexLists, View
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.attacks.parts.adaptive import as_seen, unaware
from seethrough.attacks.parts.contributors import sole, sole_part, told_apart
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model
from seethrough.audit.checks.lint import lint
from seethrough.audit.metrics.cohort_labels import CohortLabels
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.specification.file import spec_from
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import MEANING, ThreatModel
from seethrough.audit.trial import _played, run_trial, view_for
from seethrough.defenses import Chain, Defense, Update
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.defenses.top_k import TopK

CPU = torch.device("cpu")
DIGITS = {"name": "digits", "data": {"digits": {"size": 8}}, "model": {"convnet": {"width": 4}}, "batch_size": 2}


def summed(clients: int = 3, share: float = 0.05, lists: bool = True) -> Chain:
    return Chain((TopK(share=share), SecureAggregation(clients=clients, index_lists=lists)))


def case(defense: Defense, *grants: Any, attack: Any = None) -> Case:
    facts = grants or ("count", "recipe", "defense", "public", "participants", "past")
    metrics = (LabelAccuracy(), CohortLabels())
    setting = Setting.model_validate_json(json.dumps(DIGITS))
    return Case(0, 0, setting, ThreatModel(name="s", grants=facts), defense, attack or LabelCounts(), metrics)


def seen(each: Case) -> tuple[View, tuple[Any, ...]]:
    held = draw_batches(each.setting, 0, 0, each.defense.cohort(), False)
    rounds = _played(each, broadcast_model(each.setting, 0, 0), (held.victim, *held.others), "attack")
    return view_for(each, rounds, CPU), rounds


def flat(step: Any) -> Tensor:
    return torch.cat([part.flatten() for part in step.values()])


def test_where_one_client_alone_sent_something():
    lists = tuple({"a": torch.tensor(each, dtype=torch.bool)} for each in ([1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0]))
    assert sole(IndexLists(lists))["a"].tolist() == [True, False, False, False]
    assert sole(IndexLists(lists[:1]))["a"].tolist() == [True, True, False, False]


def test_an_attacker_knows_what_it_left_out_itself_without_knowing_the_defense():
    granted, _ = seen(case(summed()))
    withheld, _ = seen(case(summed(), "count", "recipe", "participants"))
    alone, _ = sole_part(withheld)
    step = {name: torch.ones_like(part) for name, part in alone.update.items()}
    for view in (alone, unaware(sole_part(granted)[0])):
        shown = as_seen(view, step)
        assert all(torch.equal(shown[name], (part != 0).to(part)) for name, part in alone.update.items())


def test_lists_are_in_the_view_of_a_protocol_that_sends_them_and_in_no_other():
    view, rounds = seen(case(summed()))
    assert view.lists is not None and len(view.lists.sent) == 3
    plain, _ = seen(case(TopK(share=0.05)))
    sent = view.lists.sent[0]
    assert all(torch.equal(sent[name], part != 0) for name, part in plain.update.items())
    assert all(part.data_ptr() != rounds[-1].aggregate.sent[0][name].data_ptr() for name, part in sent.items())
    assert seen(case(summed(lists=False)))[0].lists is None
    dropped = SecureAggregation(clients=3, reconstruction_threshold=1, index_lists=True)
    update = Update({"a": torch.tensor([1.0, 0.0])}, 1, {})
    assert dropped.aggregate((update,), torch.Generator()).sent == ()  # the update itself is read then


def test_what_is_read_is_the_clients_own_to_the_resolution_of_the_ring():
    view, _ = seen(case(summed()))
    plain, _ = seen(case(TopK(share=0.05)))
    alone, note = sole_part(view)
    own, found, true = flat(sole(view.lists)), flat(alone.update), flat(plain.update)
    count, sent = int(own.sum()), int((true != 0).sum())
    assert 0 < count < sent and f"of {sent} coordinates that the client sent, {count} were" in note
    assert torch.equal(found != 0, own) and (found - true)[own].abs().max() < 3 * 8.0 / 2**22 + 1e-6
    assert (alone.count, alone.participants, alone.past, alone.sums, alone.lists) == (2, 1, None, None, None)


def test_the_simulation_of_the_attacker_is_of_what_it_reads_alone():
    view, rounds = seen(case(summed()))
    alone, _ = sole_part(view)
    truth = rounds[-1].batches[0]
    with torch.no_grad():
        step = simulated_client(alone)(truth.inputs, truth.labels)
    assert torch.equal(flat(step) != 0, flat(alone.update) != 0)
    assert torch.cosine_similarity(flat(step), flat(alone.update), dim=0) > 0.999


def test_labels_that_are_granted_are_the_clients_own():
    view, rounds = seen(case(summed(), *(fact for fact in MEANING if fact != "order")))
    assert view.labels is not None and len(view.labels) == 6
    alone, _ = sole_part(view)
    assert torch.equal(alone.labels, rounds[-1].batches[0].labels.sort().values)


def test_without_a_coordinate_of_its_own_the_sum_is_attacked_and_the_page_says_so():
    sparse, _ = seen(case(summed()))
    everything = {name: torch.ones_like(part, dtype=torch.bool) for name, part in sparse.update.items()}
    view = dataclasses.replace(sparse, lists=IndexLists((everything,) * 3))
    same, note = told_apart(view)
    assert same is view and "none of the coordinates that the client sent was its own among 3" in note
    without, nothing = told_apart(dataclasses.replace(view, lists=None))
    assert without.lists is None and nothing == ""


@pytest.mark.parametrize("attack", [LabelCounts(), InvertingGradients(steps=4)])
def test_a_tiny_audit_scores_the_client_by_itself_and_the_sum_beside_it(attack: Any):
    client, cohort = run_trial(case(summed(), attack=attack), CPU).scores
    assert client.status == cohort.status == "ok" and (client.n, cohort.n) == (2, 6)
    assert "sent by no other of 3" in client.note
    assert client.perfect == 1.0 and sum(client.perfect_swapped) / 19 < 0.7  # a client of two, not a sum of six
    hidden = run_trial(case(summed(lists=False), attack=attack), CPU).scores[0]
    assert "sent by no other" not in hidden.note and sum(hidden.perfect_swapped) > sum(client.perfect_swapped)


def test_the_sum_is_the_same_with_lists_and_without():
    (view, _), (plain, _) = seen(case(summed())), seen(case(summed(lists=False)))
    assert torch.equal(flat(view.update), flat(plain.update))


def test_index_lists_shorten_the_message_to_what_is_sent():
    update = Update({"a": torch.zeros(1000)}, 1, {"norm.running_mean": torch.zeros(8)})
    sparse, dense = (summed(share=0.01, lists=lists).bytes_sent(update) for lists in (True, False))
    assert dense - sparse == pytest.approx((990 * 32 - 10 * 10) / 8, abs=1)  # ten values, and ten bits for each place


def test_a_misled_user_is_told_before_the_run():
    spec = {"name": "a", "trials": 1, "settings": [DIGITS], "threats": [{"name": "s"}], "attacks": ["label_counts"]}
    spec |= {
        "metrics": ["label_accuracy"],
        "defenses": [[{"top_k": 0.05}, {"secure_aggregation": {"index_lists": True}}]],
    }
    (found,) = [each for each in lint(spec_from(spec)) if "in the clear" in each]
    assert "leave index_lists out" in found
