"""Secure aggregation: the sum is right, and nothing less than the sum can be read."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Generator, Tensor

from seethrough.defenses import AbortedError, Update
from seethrough.defenses._base import weighted_mean
from seethrough.defenses.parts.secure_sum.masks import KeyPair, combined, mask, opened, shares_of
from seethrough.defenses.parts.secure_sum.protocol import protocol_bytes, secure_sum
from seethrough.defenses.secure_aggregation import SecureAggregation

RING = 2**32
BINS = 64


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def an_update(seed: int, count: int, shape: tuple[int, ...] = (4, 3), scale: float = 1.0) -> Update:
    rng = seeded(seed)

    def within() -> Tensor:
        return scale * (2 * torch.rand(shape, generator=rng) - 1)

    return Update({"weight": within(), "bias": within()[..., 0]}, count, {"norm.running_mean": within()})


def uniformity(numbers: Tensor, modulus: int = RING) -> float:
    """The p-value of a chi-square test that the numbers fill the bins of the ring evenly."""
    counts = np.bincount((numbers // (modulus // BINS)).numpy(), minlength=BINS)
    assert len(counts) == BINS
    return stats.chisquare(counts).pvalue


def worst_error(defense: SecureAggregation, updates: tuple[Update, ...]) -> float:
    found, plain = defense.aggregate(updates, seeded(0)).mean, weighted_mean(doubled(updates))
    step = [(found.step[name] - plain.step[name]).abs().max() for name in plain.step]
    return max(map(float, [*step, *((found.buffers[n] - plain.buffers[n]).abs().max() for n in plain.buffers)]))


def doubled(updates: tuple[Update, ...]) -> tuple[Update, ...]:
    return tuple(
        Update({n: t.double() for n, t in u.step.items()}, u.count, {n: t.double() for n, t in u.buffers.items()})
        for u in updates
    )


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 500), min_size=2, max_size=9),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 10**6),
    st.sampled_from([0.5, 8.0, 100.0]),
    st.sampled_from([2**8, 2**22, 1000]),
)
def test_the_decoded_mean_is_the_weighted_mean_up_to_the_encodings_resolution(
    counts: list[int], shape: list[int], seed: int, reach: float, levels: int
):
    defense = SecureAggregation(clients=len(counts), clipping_range=reach, quantization_range=levels)
    updates = tuple(an_update(seed + i, count, tuple(shape), scale=reach) for i, count in enumerate(counts))
    weights = sum(count / max(counts) for count in counts)
    bound = len(counts) * reach / (levels * weights)  # half a level from each client, over the sum of weights
    single_precision = reach * 2**-23
    assert worst_error(defense, updates) <= bound + single_precision


def test_the_bound_on_the_error_is_tight():
    level = 2 * 8.0 / 2**22
    halfway = Update({"a": torch.full((1,), 0.4999 * level, dtype=torch.float64)}, 3, {})
    found = SecureAggregation(clients=4).aggregate((halfway,) * 4, seeded(0)).mean
    assert abs(found.step["a"].item() - halfway.step["a"].item()) == pytest.approx(8.0 / 2**22, rel=1e-3)


def test_what_lies_beyond_the_clipping_range_is_clipped_to_it():
    far = Update({"a": torch.tensor([100.0, -100.0, 1.0])}, 1, {})
    found = SecureAggregation(clients=2, clipping_range=2.0).aggregate((far, far), seeded(0)).mean
    assert torch.allclose(found.step["a"], torch.tensor([2.0, -2.0, 1.0]), atol=1e-6)


def test_the_largest_sum_does_not_wrap_around():
    defense = SecureAggregation(clients=3, clipping_range=1.0, quantization_range=85, modulus_range=256)
    full = Update({"a": torch.ones(2)}, 1, {})
    assert torch.equal(defense.aggregate((full,) * 3, seeded(0)).mean.step["a"], torch.ones(2))


def test_the_server_reads_no_update_only_messages_on_the_ring():
    updates = tuple(an_update(i, i + 1) for i in range(4))
    aggregate = SecureAggregation().aggregate(updates, seeded(0))
    assert aggregate.seen == ()
    assert aggregate.mean.count == 10
    size = sum(part.numel() for part in (*updates[0].step.values(), *updates[0].buffers.values()))
    for message in aggregate.masked:
        assert message.shape == (size,) and message.dtype == torch.int64
        assert message.min() >= 0 and message.max() < RING


def messages_of(clients: int, size: int = 6, modulus: int = RING, seed: int = 0) -> tuple[Tensor, ...]:
    return tuple(torch.randint(modulus, (size,), generator=seeded(seed + i)) for i in range(clients))


PATTERNS = list(itertools.product([True, False], repeat=5))


def left_of(messages: tuple[Tensor, ...], stays: Iterable[bool]) -> tuple[Tensor | None, ...]:
    return tuple(message if there else None for message, there in zip(messages, stays, strict=True))


@pytest.mark.parametrize("threshold", [1, 3, 5])
def test_the_masked_sum_is_exact_for_every_dropout_pattern_of_5_clients(threshold: int):
    messages = messages_of(5)
    for pattern in PATTERNS:
        if sum(pattern) < threshold:
            left = f"{sum(pattern)} of 5 clients stayed to the end, fewer than the threshold of {threshold}"
            with pytest.raises(AbortedError, match=left):
                secure_sum(left_of(messages, pattern), threshold, RING, seeded(1))
            continue
        total, seen = secure_sum(left_of(messages, pattern), threshold, RING, seeded(1))
        exact = sum(messages[i] for i in range(5) if pattern[i]) % RING
        assert torch.equal(total, exact), pattern
        assert sorted(seen.masked) == [i for i in range(5) if pattern[i]]


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 7), st.integers(0, 40), st.integers(0, 10**6), st.sampled_from([2, 2**16, 2**32, 2**48]), st.data()
)
def test_the_masked_sum_is_exact_on_rings_of_any_size(clients: int, size: int, seed: int, modulus: int, data):
    messages = messages_of(clients, size, modulus, seed)
    threshold = data.draw(st.integers(1, clients))
    gone = data.draw(st.sets(st.integers(0, clients - 1), max_size=clients - threshold))
    total, _ = secure_sum(left_of(messages, (i not in gone for i in range(clients))), threshold, modulus, seeded(seed))
    assert torch.equal(total, sum(messages[i] for i in range(clients) if i not in gone) % modulus)


@pytest.mark.parametrize("gone", [(), (1, 3), (2,)])
def test_the_server_is_never_given_shares_of_both_secrets_of_one_client(gone: tuple[int, ...]):
    _, seen = secure_sum(left_of(messages_of(5), (i not in gone for i in range(5))), 2, RING, seeded(1))
    assert sorted(seen.self_shares) == [i for i in range(5) if i not in gone]
    assert sorted(seen.key_shares) == list(gone)
    revealed = [*seen.self_shares.values(), *seen.key_shares.values()]
    assert all(len(shares) == 5 - len(gone) for shares in revealed)


def test_the_letters_between_clients_keep_their_shares_from_the_server():
    _, seen = secure_sum(messages_of(3), 2, RING, seeded(1))
    revealed = [value for shares in seen.self_shares.values() for _, value in shares]
    assert sorted(seen.letters) == sorted(itertools.permutations(range(3), 2))
    assert not any(value[:16] in letter for value in revealed for letter in seen.letters.values())
    with pytest.raises(InvalidTag):
        opened(KeyPair(bytes(range(32))).agreed(seen.keys[0][0], "0 to 1"), seen.letters[0, 1])


def test_what_is_revealed_takes_neither_kind_of_mask_off_a_single_message():
    messages = messages_of(3, 4000)
    _, seen = secure_sum((*messages[:2], None), 2, RING, seeded(1))
    without_self = seen.masked[0] - mask(combined(seen.self_shares[0]), 4000, RING)
    pair = KeyPair(combined(seen.key_shares[2])).agreed(seen.keys[0][1], "mask")
    without_both = without_self - mask(pair, 4000, RING)  # what is left is the mask shared with client 1
    for exposed in (without_self, without_both):
        assert uniformity((exposed - messages[0]) % RING) > 1e-3


def test_fewer_shares_than_the_threshold_do_not_give_the_secret_back():
    secret = bytes(range(32))
    shares = shares_of(secret, 3, 5)
    assert all(combined(some) == secret for size in (3, 4, 5) for some in itertools.combinations(shares, size))
    assert not any(combined(some) == secret for size in (1, 2) for some in itertools.combinations(shares, size))


def test_two_clients_agree_on_a_key_for_each_purpose_and_have_the_public_keys_of_rfc_7748():
    # RFC 7748, section 6.1: the private keys of Alice and Bob, and Bob's public key.
    alice = KeyPair(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c5aefca8c2cf5a8e2f3e9f2a9bd5b"))
    bob = KeyPair(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    assert bob.public().hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    assert alice.agreed(bob.public(), "mask") == bob.agreed(alice.public(), "mask")
    assert alice.agreed(bob.public(), "mask") != alice.agreed(bob.public(), "0 to 1")


@pytest.mark.parametrize("clients", [2, 3, 4])
def test_every_message_and_every_sum_of_messages_is_uniform_until_the_self_masks_are_taken_off(clients: int):
    constant = Update({"a": torch.full((20_000,), 0.125)}, 1, {})
    messages = SecureAggregation(clients=clients).aggregate((constant,) * clients, seeded(17)).masked
    for size in range(1, clients + 1):
        for some in itertools.combinations(messages, size):
            assert uniformity(torch.stack(some).sum(dim=0) % RING) > 1e-3


def test_an_unmasked_message_would_fail_the_test_of_uniformity():
    normal = torch.randn(20_000, generator=seeded(0))
    encoded = SecureAggregation()._encoded(normal.double())
    assert uniformity(encoded) < 1e-9


def test_a_message_says_nothing_of_the_update_behind_it():
    first, second = (Update({"a": torch.full((20_000,), value)}, 1, {}) for value in (-8.0, 8.0))
    others = tuple(Update({"a": torch.zeros(20_000)}, 1, {}) for _ in range(3))
    low = SecureAggregation().aggregate((first, *others), seeded(1)).masked[0]
    high = SecureAggregation().aggregate((second, *others), seeded(2)).masked[0]
    assert stats.ks_2samp(low.numpy(), high.numpy()).pvalue > 1e-3


def test_each_client_has_keys_of_its_own_and_each_round_other_keys():
    (_, first), (_, again), (_, later) = (secure_sum(messages_of(5), 3, RING, seeded(seed)) for seed in (0, 0, 1))
    assert first.keys == again.keys and all(torch.equal(first.masked[i], again.masked[i]) for i in range(5))
    assert len({key for seen in (first, later) for pair in seen.keys.values() for key in pair}) == 20
    assert not torch.equal(first.masked[0], later.masked[0])


def test_masks_are_little_endian_words_of_chacha20():
    # RFC 8439, appendix A.1, test vector 1: key, nonce and counter all zero.
    digest = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28")
    expected = [int.from_bytes(digest[i : i + 8], "little") % RING for i in (0, 8)]
    assert mask(bytes(32), 2, RING).tolist() == expected


@pytest.mark.parametrize("modulus", [2**8, 2**32, 2**48])
def test_masks_are_uniform_on_rings_of_any_size(modulus: int):
    drawn = mask(bytes(range(32)), 50_000, modulus)
    assert uniformity(drawn, modulus) > 1e-3 and 0.49 < (drawn % 2).double().mean() < 0.51


@pytest.mark.parametrize("present", [0, 5])
def test_no_update_or_more_of_them_than_clients_are_refused(present: int):
    with pytest.raises(ValueError, match=f"sums 1 to 4 updates, found {present}"):
        SecureAggregation(clients=4).aggregate(tuple(an_update(i, 1) for i in range(present)), seeded(0))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_refused(poison: float):
    bad = dataclasses.replace(an_update(0, 1), step={"weight": torch.full((4, 3), poison), "bias": torch.zeros(4)})
    with pytest.raises(ValueError, match="not finite"):
        SecureAggregation(clients=2).aggregate((an_update(1, 1), bad), seeded(0))


def test_parts_are_matched_by_name_not_by_order():
    first = an_update(0, 1)
    turned = Update(dict(reversed(first.step.items())), 1, first.buffers)
    found = SecureAggregation(clients=2).aggregate((first, turned), seeded(0)).mean
    assert all(torch.allclose(found.step[name], part, atol=1e-5) for name, part in first.step.items())


def test_a_ring_too_small_for_the_sum_is_refused():
    with pytest.raises(
        ValidationError, match=r"modulus_range must exceed clients \* quantization_range = 4096, found 4096"
    ):
        SecureAggregation(clients=4, quantization_range=1024, modulus_range=4096)
    SecureAggregation(clients=4, quantization_range=1023, modulus_range=4096)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modulus_range", 2**32 - 5),
        ("modulus_range", 2**49),
        ("clients", 0),
        ("clients", 101),
        ("clipping_range", 0.0),
        ("quantization_range", 0),
        ("reconstruction_threshold", 0),
        ("reconstruction_threshold", 5),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(name: str, value: float):
    with pytest.raises(ValidationError, match=name):
        SecureAggregation(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_the_mean_is_that_of_the_clients_who_sent_their_message(gone: int):
    kept = tuple(an_update(i, i + 1) for i in range(5 - gone))
    found = SecureAggregation(clients=5).aggregate(kept, seeded(0))
    plain = weighted_mean(doubled(kept))
    bound = 5 * 8.0 / (2**22 * sum(update.count / len(kept) for update in kept)) + 8.0 * 2**-23
    assert all((found.mean.step[name] - part).abs().max() <= bound for name, part in plain.step.items())
    assert found.mean.count == plain.count
    assert len(found.masked) == 5 - gone
    assert found.note == (f"{5 - gone} of 5 clients' updates are in the sum" if gone else "")


@pytest.mark.parametrize(
    "alone",
    [SecureAggregation(clients=1), SecureAggregation(clients=4, reconstruction_threshold=1)],
    ids=["a cohort of one", "all but one dropped out"],
)
def test_a_client_who_is_alone_in_the_sum_is_exposed_and_the_round_says_so(alone: SecureAggregation):
    update = an_update(0, 1, scale=0.1)
    found = alone.aggregate((update,), seeded(0))
    assert len(found.seen) == 1 and found.masked == ()
    assert torch.allclose(found.seen[0].step["weight"], update.step["weight"], rtol=0, atol=8.0 / 2**22)
    assert "hid nothing" in found.note


def test_a_round_that_too_few_stay_in_is_aborted_and_says_why():
    updates = tuple(an_update(i, 1) for i in range(2))
    with pytest.raises(AbortedError, match=r"2 of 4 clients stayed .* fewer than the threshold of 3"):
        SecureAggregation().aggregate(updates, seeded(0))


def test_who_dropped_out_moves_no_number_of_the_sum():
    """Masks cancel whoever sends nothing: the sum is the same as of a smaller cohort."""
    updates = tuple(an_update(i, i + 1) for i in range(3))
    of_five, of_three = (SecureAggregation(clients=n).aggregate(updates, seeded(n)).mean for n in (5, 3))
    assert all(torch.equal(part, of_three.step[name]) for name, part in of_five.step.items())


@pytest.mark.parametrize("clients", [1, 2, 5])
def test_the_bytes_of_the_protocol_are_those_that_a_client_sends(clients: int):
    _, seen = secure_sum(messages_of(clients), 1, RING, seeded(0))
    letters = sum(len(letter) for (sender, _), letter in seen.letters.items() if sender == 0)
    shares = sum(2 + len(value) for index, value in itertools.chain(*seen.self_shares.values()) if index == 1)
    assert protocol_bytes(clients) == sum(map(len, seen.keys[0])) + letters + shares


def test_an_aborted_round_is_told_in_one_sentence():
    said = (
        "the round was aborted: 1 of 3 clients stayed to the end, fewer than the threshold of 2, so the masks cannot be taken "
        "off and the server reads nothing"
    )
    with pytest.raises(AbortedError, match=f"^{said}$"):
        secure_sum((messages_of(1)[0], None, None), 2, RING, seeded(0))
