"""Clients who do not all do the same: who does what, what is read, reckoned with and claimed."""

import json
from typing import Any

import pytest
import torch
from torch import Generator, nn

from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model
from seethrough.audit.checks.lint import lint
from seethrough.audit.manifest import _defense_facts
from seethrough.audit.metrics.cohort_labels import CohortLabels
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.specification.defenses import defense_label
from seethrough.audit.specification.file import spec_from
from seethrough.audit.specification.schema import AuditSpec, Setting, Utility
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import _played, run_trial, view_for
from seethrough.audit.utility import Training, run_training
from seethrough.common.errors import InputError
from seethrough.defenses import Batch, Chain, Defense, Mixture, NoDefense, NotApplicableError, Update
from seethrough.defenses._base import weighted_mean
from seethrough.defenses.adaptive_clipping import AdaptiveClipping
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.partial_sharing import PartialSharing
from seethrough.defenses.parts.mixture import dealt
from seethrough.defenses.quantization import Quantization
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.defenses.sign import Sign
from seethrough.defenses.top_k import TopK
from seethrough.federation.rounds import simulate_round
from seethrough.recipes import Recipe

CPU = torch.device("cpu")
PRUNED, FEW = TopK(share=0.1), PartialSharing(withheld="first")
MIXED = Mixture((0.5, 0.25, 0.25), (PRUNED, NoDefense(), FEW))
SPELLED = {
    "mixed": [
        {"share": 0.5, "defense": {"top_k": 0.1}},
        {"share": 0.25, "defense": "none"},
        {"share": 0.25, "defense": {"partial_sharing": {"withheld": "first"}}},
    ]
}
DIGITS = {"name": "digits", "data": {"digits": {"size": 8}}, "model": {"convnet": {"width": 4}}, "batch_size": 2}
PEOPLE = {"population": {"clients": 4, "per_round": 4}}


def setting(**changes: Any) -> Setting:
    return Setting.model_validate_json(json.dumps(DIGITS | PEOPLE | changes))


def audit(*defenses: Any, **changes: Any) -> AuditSpec:
    spec = {"name": "a", "trials": 1, "settings": [DIGITS | PEOPLE | changes], "threats": [{"name": "s"}]}
    return spec_from(spec | {"defenses": list(defenses), "attacks": ["label_counts"], "metrics": ["label_accuracy"]})


def a_round(defense: Defense, clients: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[Update, ...]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3))
    batches = tuple(Batch(torch.rand(2, 8), torch.tensor([0, each % 3])) for each in range(5))
    rngs = tuple(Generator().manual_seed(each) for each in (*clients, 99))
    chosen = tuple(batches[each] for each in clients)
    aggregate = simulate_round(model, chosen, Recipe(), defense, rngs, clients=clients).aggregate
    return aggregate.seen or (aggregate.mean,)


def same(one: Update, other: Update) -> bool:
    return all(torch.equal(part, other.step[name]) for name, part in one.step.items())


def test_the_one_under_attack_has_the_first_and_all_have_about_their_shares():
    for shares in ((0.5, 0.5), (0.1, 0.9), (0.2, 0.3, 0.5), (0.05, 0.05, 0.9)):
        given = dealt(shares)
        assert given[0] == 0
        for count in (10, 20, 100, 10_000):
            for kind, share in enumerate(shares):
                assert abs(given[:count].count(kind) - share * count) <= 1
    assert dealt((0.5, 0.5))[:8].count(0) == 4


def test_each_client_sends_what_it_would_if_all_did_as_it_does():
    sent = a_round(MIXED)
    for place, own in enumerate(MIXED.of(client) for client in range(4)):
        assert same(sent[place], a_round(own)[place])
    assert {type(MIXED.of(client)) for client in range(4)} == {TopK, NoDefense, PartialSharing}


def test_what_a_client_does_is_its_own_whoever_else_is_in_the_round():
    """Numbers decide, not places: those who are left after dropouts do what they did before."""
    whole, left = a_round(MIXED), a_round(MIXED, (0, 2, 3))
    assert all(same(left[place], whole[client]) for place, client in enumerate((0, 2, 3)))


def test_a_sum_is_of_what_each_of_them_sends():
    (total,) = a_round(Chain((MIXED, SecureAggregation(clients=4))))
    plain = weighted_mean(a_round(MIXED))
    assert all(torch.allclose(part, plain.step[name], atol=1e-5) for name, part in total.step.items())
    assert not torch.allclose(total.step["0.weight"], weighted_mean(a_round(PRUNED)).step["0.weight"], atol=1e-4)


def test_kinds_may_be_chains_and_train_each_in_its_own_way():
    noisy = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)
    mixed = Mixture((0.5, 0.5), (noisy, Chain((Sign(), Quantization(bits=4)))))
    whole = Chain((mixed, SecureAggregation(clients=4)))
    assert whole.of(1) == Chain((Sign(), Quantization(bits=4), SecureAggregation(clients=4)))
    assert same(a_round(mixed)[0], a_round(noisy)[0]) and not same(a_round(mixed)[0], a_round(NoDefense())[0])


def case(defense: Defense, at: Setting | None = None, attack: Any = None) -> Case:
    metrics = (LabelAccuracy(), CohortLabels())
    return Case(0, 0, at or setting(), ThreatModel(name="s"), defense, attack or LabelCounts(), metrics)


def view(defense: Defense) -> Any:
    each = case(defense)
    held = draw_batches(each.setting, 0, 0, 4, False)
    return view_for(
        each, _played(each, broadcast_model(each.setting, 0, 0), (held.victim, *held.others), "attack"), CPU
    )


def test_the_attacker_reckons_with_what_the_one_under_attack_does():
    assert view(MIXED).defense == PRUNED
    summed = SecureAggregation(clients=4)
    assert view(Chain((MIXED, summed))).defense == Chain((PRUNED, summed))


def test_in_the_clear_the_numbers_are_those_of_a_client_among_its_like():
    """Of one round, and for the same seed: the others do not matter where the server reads each one by itself."""
    few = InvertingGradients(steps=3)
    mixed, alike = (run_trial(case(defense, attack=few), CPU).scores[0] for defense in (MIXED, PRUNED))
    assert mixed == alike


def test_a_tiny_audit_of_clients_who_differ_scores_the_sum_of_all():
    label, cohort = run_trial(case(Chain((MIXED, SecureAggregation(clients=4)))), CPU).scores
    assert label.status == cohort.status == "ok" and cohort.n == 8
    assert cohort.value is not None and 0.2 <= cohort.value <= 1.0


@pytest.mark.parametrize(
    ("defense", "words"),
    [
        ({"mixed": [{"share": 0.5, "defense": "none"}, {"share": 0.4, "defense": "sign"}]}, "1 in all, found 0.9"),
        ({"mixed": [{"share": 0.5, "defense": "none"}]}, "at least 2 item"),
        ({"mixed": [{"share": 1.0, "defense": "none"}, {"share": 0.5, "defense": "sign"}]}, r"mixed\[0\].share"),
        (
            {"mixed": [{"share": 0.5, "defense": "none"}, {"share": 0.5, "defense": "secure_aggregation"}]},
            "SecureAggregation, which combines several; put it after the mixture, in a chain",
        ),
        ([SPELLED, SPELLED], "one part of a chain may differ between clients"),
        ([SPELLED, "adaptive_clipping"], "a chain in which they differ"),
        (
            [{"mixed": [{"share": 0.5, "defense": "sign"}, {"share": 0.5, "defense": "soteria"}]}, "soteria"],
            "may define `train`, found Soteria, Soteria",
        ),
        ({"mixed": [{"share": 0.5, "defence": "none"}, {"share": 0.5, "defense": "sign"}]}, "defence"),
        ({"mixt": []}, "mixed: "),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_sentence(defense: Any, words: str):
    with pytest.raises(InputError, match=words) as found:
        audit(defense)
    assert "defenses[0]" in str(found.value)


def test_a_mixture_is_spelled_labeled_and_described():
    (found,) = audit(SPELLED).defenses
    assert found == MIXED
    assert defense_label(found) == "mixed(50% top_k(share=0.1), 25% none, 25% partial_sharing(withheld=first))"
    facts = _defense_facts(found)
    assert facts[0].endswith("does what is listed first.") and "A share of 25%: none" in facts
    assert "share = 0.1" in facts


def test_a_mixture_of_clients_who_are_not_there_is_not_applicable_and_named_before():
    alone = setting(population=None)
    with pytest.raises(NotApplicableError, match="the one client that takes part has not all of the defenses"):
        run_trial(case(MIXED, alone), CPU)
    assert any("the one client that takes part" in each for each in lint(audit(SPELLED, population=None)))
    assert not any("mixture" in each for each in lint(audit(SPELLED)))


def test_a_claim_is_said_to_hold_for_its_kind_alone():
    private = ClientDP(noise_multiplier=1.0, max_norm=1.0)
    first, second = Mixture((0.5, 0.5), (private, NoDefense())), Mixture((0.5, 0.5), (NoDefense(), private))
    claim = run_trial(case(first), CPU).claim
    assert claim is not None and "does, 2 of the 4 clients, and says nothing of the others" in claim.statement
    alike = run_trial(case(private), CPU).claim
    assert alike is not None and claim.epsilon == alike.epsilon
    assert run_trial(case(second), CPU).claim is None


def test_a_claim_counts_the_clients_that_it_holds_for():
    weak, strong = (ClientDP(noise_multiplier=noise, max_norm=1.0) for noise in (1.0, 2.0))
    rare = Mixture((0.1, 0.45, 0.45), (weak, NoDefense(), strong))
    claim = run_trial(case(rare), CPU).claim
    assert claim is not None and "1 of the 4 clients" in claim.statement
    summed = run_trial(case(Chain((rare, SecureAggregation(clients=3))), setting(population=None)), CPU).claim
    assert summed is not None and "1 of the 3 clients" in summed.statement


def test_lint_says_whose_epsilon_is_shown_where_some_claim_none():
    def kind(share: float, noise: float | None) -> dict[str, Any]:
        dp = {"client_dp": {"noise_multiplier": noise, "max_norm": 1.0}}
        return {"share": share, "defense": dp if noise else "none"}

    first, last = ({"mixed": [kind(0.5, a), kind(0.25, b), kind(0.25, c)]} for a, b, c in ((1, 0, 2), (0, 1, 2)))
    assert any("that of the first kind, which is attacked, and says nothing" in each for each in lint(audit(first)))
    assert any("no epsilon is shown" in each for each in lint(audit(last)))
    private = {"mixed": [kind(0.5, 1.0), kind(0.5, 2.0)]}
    assert not any("not at all" in each for each in lint(audit(private)))


def test_utility_trains_all_kinds_and_counts_what_they_send():
    plan = {"rounds": 1, "clients": 4, "repeats": 1}
    spec = audit(SPELLED)
    measured = run_training(Training(0, 0, spec.settings[0], MIXED, Utility.model_validate(plan))).utility
    model = broadcast_model(spec.settings[0], 0, 0)
    update = Update({name: part.detach() for name, part in model.named_parameters()}, 2, {})
    assert measured.sent == round(sum(share * own.bytes_sent(update) for share, own in MIXED.kinds()))
    assert min(own.bytes_sent(update) for _, own in MIXED.kinds()) < measured.sent


def test_a_mixture_does_nothing_by_itself():
    with pytest.raises(TypeError, match="ask `of`"):
        MIXED.release(Update({"a": torch.ones(2)}, 1, {}), Generator())
    with pytest.raises(ValueError, match="AdaptiveClipping"):
        Mixture((0.5, 0.5), (NoDefense(), AdaptiveClipping(clients=2)))
