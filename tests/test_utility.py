"""What a defense costs: trainings under it, what they send, what is claimed of all their rounds."""

import dataclasses
import json

import pytest
import torch
from torch import Generator, nn

from seethrough.audit.case import broadcast_model
from seethrough.audit.data.digits import Digits
from seethrough.audit.specification.error_messages import SpecError
from seethrough.audit.specification.file import load_spec
from seethrough.audit.specification.schema import AuditSpec, Setting, Utility
from seethrough.audit.utility import Training, _drawn, _run, dealt, key_of_training, run_training
from seethrough.defenses import Chain, Defense, NoDefense, NotApplicableError, Update
from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.guarantees.accounting import gaussian_epsilon
from seethrough.defenses.partial_sharing import PartialSharing
from seethrough.defenses.parts.secure_sum.protocol import protocol_bytes, secure_sum
from seethrough.defenses.quantization import Quantization
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.defenses.sign import Sign
from seethrough.defenses.top_k import TopK
from seethrough.federation.client import DivergedError

PLAN = Utility(rounds=40, clients=8)


def setting(**changes: object) -> Setting:
    fields = {
        "name": "digits",
        "data": {"digits": {"size": 16}},
        "model": {"convnet": {"width": 16}},
        "batch_size": 8,
        "local": {"lr": 0.2},
    }
    return Setting.model_validate_json(json.dumps(fields | changes))


def training(defense: Defense | None = None, plan: Utility = PLAN, **changes: object) -> Training:
    return Training(0, 0, setting(**changes), defense or NoDefense(), plan)


def update(**tensors: int) -> Update:
    return Update({f"{name}.weight": torch.randn(size) for name, size in tensors.items()}, 4, {})


@pytest.fixture(scope="module")
def undefended():
    return run_training(training())


def test_a_training_without_a_defense_learns(undefended):
    measured = undefended.utility
    assert measured.accuracy > 0.5 > 0.3 > measured.floor
    assert (measured.rounds, measured.clients, measured.tested) == (40, 8, 359)
    assert measured.seconds > 0 and undefended.claim is None and undefended.unclaimed


def test_the_same_seed_gives_the_same_numbers_and_another_repeat_others(undefended):
    def numbers(found):
        return dataclasses.replace(found.utility, seconds=0.0)

    assert numbers(run_training(training())) == numbers(undefended)
    other = run_training(dataclasses.replace(training(), repeat=1))
    assert numbers(other) != numbers(undefended)


def test_a_training_leaves_the_broadcast_model_as_it_was():
    model = broadcast_model(setting(), 0, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run_training(training(plan=Utility(rounds=2, clients=2)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_heavier_noise_leaves_less_accuracy():
    def left(std: float) -> float:
        one = training(GaussianNoise(std=std), Utility(rounds=5, clients=4), weights={"train": {"epochs": 4}})
        return run_training(one).utility.accuracy

    assert left(0.001) > left(0.1) + 0.3


def test_secure_aggregation_costs_no_accuracy(undefended):
    masked = run_training(training(SecureAggregation(clients=4))).utility
    assert masked.accuracy == pytest.approx(undefended.utility.accuracy, abs=0.05)
    assert masked.sent > undefended.utility.sent


def test_a_round_is_federated_averaging():
    plan = Utility(rounds=1, clients=3, server_lr=(0.5,))
    one = training(plan=plan)
    images = Digits(size=16).load()
    shares = dealt(one.setting, 0, 0, 3)
    model = broadcast_model(one.setting, 0, 0)
    everyone = images.batch(torch.cat([_drawn(one, client, shares[client], 0) for client in range(3)]))
    loss = nn.functional.cross_entropy(model(everyone.inputs), everyone.labels)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    expected = [p - 0.5 * 0.2 * slope for p, slope in zip(model.parameters(), slopes, strict=True)]
    moved = _run(one, model, images, shares, 0.5).model
    for found, wanted in zip(moved.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_adam_takes_the_mean_step_for_its_gradient_whatever_its_length():
    images = Digits(size=16).load()
    moved = []
    for defense, server in ((NoDefense(), "adam"), (Clipping(max_norm=0.1), "adam"), (NoDefense(), "sgd")):
        one = training(defense, Utility(rounds=1, clients=1, server_optimizer=server))
        start = broadcast_model(one.setting, 0, 0)
        model = _run(one, start, images, dealt(one.setting, 0, 0, 1), 0.01).model
        moved.append([(end - was).detach() for end, was in zip(model.parameters(), start.parameters(), strict=True)])
    for step, clipped, mean in zip(*moved, strict=True):
        assert (step * mean >= 0).all() and (step * mean > 0).any()
        assert float(step.abs().max()) == pytest.approx(0.01, rel=1e-3)
        torch.testing.assert_close(step, clipped, rtol=0.0, atol=1e-3)


def test_of_several_rates_the_best_on_other_images_is_taken():
    plan = Utility(rounds=40, clients=4, server_lr=(0.001, 1.0))
    measured = run_training(training(plan=plan)).utility
    assert (measured.server_lr, measured.tried, measured.tested) == (1.0, 2, 180)


def test_a_rate_that_diverges_loses_to_one_that_does_not_and_alone_is_an_error():
    plan = Utility(rounds=4, clients=2, server_lr=(1e30, 0.1))
    assert run_training(training(plan=plan)).utility.server_lr == 0.1
    with pytest.raises(DivergedError, match=r"round 2 at a server_lr of 1e\+30: a client's update is not finite"):
        run_training(training(plan=Utility(rounds=4, clients=2, server_lr=(1e30,))))


def test_every_image_is_used_once_a_pass_and_no_two_clients_share_one():
    one = training()
    shares = dealt(one.setting, 0, 0, 8)
    assert len(torch.cat(shares).unique()) == sum(len(share) for share in shares)
    rounds = len(shares[0]) // 8
    drawn = [torch.cat([_drawn(one, 0, shares[0], turn * rounds + at) for at in range(rounds)]) for turn in range(2)]
    for each in drawn:
        assert len(each.unique()) == len(each) == rounds * 8
    assert not torch.equal(*drawn)


def test_a_partition_deals_unlike_shares():
    alike, unlike = (
        dealt(setting(partition=partition), 0, 0, 4) for partition in (None, {"dirichlet": 0.1, "clients": 8})
    )
    labels = Digits(size=16).load().labels
    kinds = [[len(labels[share].unique()) for share in shares] for shares in (alike, unlike)]
    assert min(kinds[0]) == 10 and min(kinds[1]) < 10


def test_batchnorm_learns_its_running_statistics_in_train_mode_only():
    small = Utility(rounds=3, clients=2)
    for mode in ("train", "eval"):
        one = training(plan=small, model={"convnet": {"width": 16, "batchnorm": True}}, mode=mode)
        images, shares = Digits(size=16).load(), dealt(one.setting, 0, 0, 2)
        start = broadcast_model(one.setting, 0, 0)
        moved = _run(one, start, images, shares, 1.0).model
        same = torch.equal(start[1].running_mean, moved[1].running_mean)
        assert same == (mode == "eval")


def test_dp_sgd_cannot_train_under_batch_statistics():
    defense = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)
    with pytest.raises(NotApplicableError, match="BatchNorm"):
        run_training(
            training(defense, Utility(rounds=1, clients=2), model={"convnet": {"batchnorm": True}}, mode="train")
        )


def test_batch_statistics_in_the_clear_void_the_claim():
    defense, plan = ClientDP(noise_multiplier=1.0, max_norm=1.0), Utility(rounds=1, clients=2)
    done = run_training(training(defense, plan, model={"convnet": {"batchnorm": True}}, mode="train"))
    assert done.claim is None and "in the clear" in done.unclaimed
    assert run_training(training(defense, plan)).claim is not None


def test_epsilon_counts_every_round_that_the_unit_is_in():
    # 718 private images: 89 for each of 8 clients, 11 batches of 8 a pass; so 40 rounds meet an example four times.
    tiny = {"data": {"digits": {"size": 8}}, "model": {"convnet": {"width": 2}}}
    example = run_training(training(DPSGD(noise_multiplier=2.0, max_grad_norm=1.0), **tiny)).claim
    client = run_training(training(ClientDP(noise_multiplier=2.0, max_norm=1.0), **tiny)).claim
    assert example.epsilon == gaussian_epsilon(GaussianMechanism(2.0, steps=4), 1e-5, "rdp")
    assert client.epsilon == gaussian_epsilon(GaussianMechanism(2.0, steps=40), 1e-5, "rdp")
    assert "all of 40 rounds, in at most 4" in example.statement and "at most 40" in client.statement


def test_epsilon_counts_every_rate_that_was_tried():
    plan = Utility(rounds=2, clients=8, server_lr=(0.1, 1.0))
    claim = run_training(training(ClientDP(noise_multiplier=2.0, max_norm=1.0), plan)).claim
    assert claim.epsilon == gaussian_epsilon(GaussianMechanism(2.0, steps=4), 1e-5, "rdp")


def test_bytes_follow_from_what_the_defense_leaves_to_be_sent():
    one = update(first=1000, last=24)
    dense = 4 * 1024
    expected = {
        NoDefense(): dense,
        Clipping(max_norm=1.0): dense,
        TopK(share=0.01): -(-(11 * 32 + 11 * 10) // 8),  # 10 bits tell one of 1,024 places
        TopK(share=0.5): (512 * 32 + 1024) // 8,  # a bit for every coordinate is shorter
        PartialSharing(share=0.5): 512 * 4 + 8,
        PartialSharing(withheld="last"): 1000 * 4,
        Quantization(bits=4): (1024 * 4 + 2 * 32) // 8,
        Sign(): (1024 + 2 * 32) // 8,
        Chain((TopK(share=0.01), Quantization(bits=4))): -(-(11 * 4 + 11 * 10 + 64) // 8),
        Chain((TopK(share=0.01), GaussianNoise(std=1.0))): dense,
        Chain((Quantization(bits=4), SecureAggregation(clients=4, modulus_range=2**40))): 1024 * 5 + protocol_bytes(4),
    }
    assert {defense: defense.bytes_sent(one) for defense in expected} == expected


def test_bytes_suffice_for_the_coordinates_that_are_really_sent():
    one = update(first=1000, last=24)
    for defense in (TopK(share=0.01), PartialSharing(share=0.3), PartialSharing(share=0.3, withheld="first")):
        sent = defense.release(one, Generator().manual_seed(0))
        count = sum(int((part != 0).sum()) for part in sent.step.values())
        assert 4 * count <= defense.bytes_sent(one)


@pytest.mark.parametrize("clients", [1, 2, 5])
def test_the_protocols_bytes_are_those_of_its_transcript(clients):
    messages = tuple(torch.zeros(1, dtype=torch.int64) for _ in range(clients))
    _, seen = secure_sum(messages, clients, 2**32, Generator().manual_seed(0))
    keys = sum(len(key) for pair in seen.keys.values() for key in pair)
    letters = sum(len(letter) for letter in seen.letters.values())
    shares = sum(2 + len(value) for held in seen.self_shares.values() for _, value in held)
    assert clients * protocol_bytes(clients) == keys + letters + shares


def test_the_key_changes_with_what_decides_the_numbers_and_not_with_names():
    base = training()
    key = key_of_training(base, "code")
    assert key == key_of_training(dataclasses.replace(base, setting=setting(name="other")), "code")
    more_repeats = dataclasses.replace(base, utility=Utility(rounds=40, clients=8, repeats=9))
    assert key == key_of_training(more_repeats, "code")
    changes = [
        dataclasses.replace(base, repeat=1),
        dataclasses.replace(base, seed=1),
        dataclasses.replace(base, defense=GaussianNoise(std=0.1)),
        dataclasses.replace(base, setting=setting(batch_size=4)),
        *(
            dataclasses.replace(base, utility=Utility(**({"rounds": 40, "clients": 8} | change)))
            for change in ({"rounds": 41}, {"clients": 4}, {"server_lr": (2.0,)}, {"server_optimizer": "adam"})
        ),
    ]
    keys = [key_of_training(change, "code") for change in changes] + [key_of_training(base, "other code")]
    assert len({key, *keys}) == 1 + len(keys)


GOOD = """
name: small
trials: 1
settings:
  - {name: digits, data: digits, model: lenet, batch_size: 2}
threats:
  - {name: curious}
defenses: [none, {secure_aggregation: {clients: 4}}]
attacks: [label_minimum]
metrics: [label_accuracy]
"""


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{rounds: 0}", "utility.rounds: found 0; allowed: a number of at least 1"),
        (
            "{rounds: 2, clients: 6}",
            "utility.clients in whole cohorts of 4, as secure_aggregation(clients=4) needs them",
        ),
        ("{server_lr: []}", "utility.server_lr"),
        ("{server_lr: [0.0]}", "a number above 0"),
        ("{server_optimizer: lamb}", "utility.server_optimizer: found \"lamb\"; allowed: 'sgd' or 'adam'"),
        ("{round: 2}", "did you mean rounds?"),
        ("yes", "a mapping with the keys rounds, clients, repeats, server_lr, server_optimizer"),
    ],
)
def test_a_mistake_in_the_section_gets_a_sentence(tmp_path, written, words):
    (tmp_path / "spec.yaml").write_text(f"{GOOD}utility: {written}\n")
    with pytest.raises(SpecError) as error:
        load_spec(tmp_path / "spec.yaml")
    assert words in str(error.value)


def test_without_the_section_nothing_is_trained(tmp_path):
    (tmp_path / "spec.yaml").write_text(GOOD)
    assert load_spec(tmp_path / "spec.yaml").utility is None
    assert AuditSpec.model_fields["utility"].default is None


def test_too_few_private_images_or_none_held_out_are_named():
    with pytest.raises(NotApplicableError, match="leave each of 8 clients 89, fewer than a batch of 90"):
        dealt(setting(batch_size=90), 0, 0, 8)
    with pytest.raises(NotApplicableError, match="hold out 0 images"):
        run_training(training(splits={"private": 0.5, "public": 0.5}))
