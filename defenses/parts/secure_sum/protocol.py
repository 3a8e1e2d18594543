"""The protocol of Bonawitz et al. (CCS 2017, figure 4, against an honest but curious server): a sum of masked messages.

A client u sends y_u = x_u + PRG(b_u) + sum over v > u of PRG(s_uv) - sum over v < u of PRG(s_uv) modulo R. The server takes
the masks off the sum with what those who are left reveal: b_u of each client that sent y_u, or, of each that did not, the key
behind its s_uv; never both of one client.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Generator, Tensor

from ..._base import AbortedError
from .masks import (
    SECRET_BYTES,
    TAG_BYTES,
    KeyPair,
    Share,
    combined,
    drawn_secret,
    mask,
    opened,
    sealed,
    shares_of,
)


@dataclass(frozen=True, eq=False)
class Transcript:
    """All that the server receives, by client."""

    keys: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # public keys, for letters and for masks
    letters: dict[tuple[int, int], bytes] = field(default_factory=dict)  # sealed shares, from and to
    masked: dict[int, Tensor] = field(default_factory=dict)  # int64 [coordinates] each
    self_shares: dict[int, list[Share]] = field(default_factory=dict)  # of b_u, of those who sent a masked message
    key_shares: dict[int, list[Share]] = field(default_factory=dict)  # of the masking key, of those who did not


class Client:
    """One client's side of the protocol: all that it keeps to itself between the steps."""

    def __init__(self, place: int, modulus: int, rng: Generator) -> None:
        self.place, self.modulus = place, modulus
        self.letter_key, self.mask_key = KeyPair(drawn_secret(rng)), KeyPair(drawn_secret(rng))
        self.self_seed = drawn_secret(rng)
        self.held: dict[
            int, tuple[Share, Share]
        ] = {}  # by owner: a share of its self-mask's seed, one of its masking key

    def advertise(self) -> tuple[bytes, bytes]:
        """The public keys for letters and for masks."""
        return self.letter_key.public(), self.mask_key.public()

    def share_secrets(self, keys: Mapping[int, tuple[bytes, bytes]], threshold: int) -> dict[int, bytes]:
        """For each other client, by place, a sealed letter with its shares of this client's two secrets."""
        places = sorted(keys)
        both = zip(
            *(shares_of(s, threshold, len(places)) for s in (self.self_seed, self.mask_key.private)), strict=True
        )
        mine = dict(zip(places, both, strict=True))
        self.held[self.place] = mine.pop(self.place)
        return {
            other: sealed(self.letter_key.agreed(keys[other][0], f"{self.place} to {other}"), _written(*shares))
            for other, shares in mine.items()
        }

    def masked_message(
        self, message: Tensor, keys: Mapping[int, tuple[bytes, bytes]], letters: Mapping[int, bytes]
    ) -> Tensor:
        """The message under its masks, after the letters of the other clients (by sender) have come."""
        for sender, letter in letters.items():
            key = self.letter_key.agreed(keys[sender][0], f"{sender} to {self.place}")
            self.held[sender] = _read(opened(key, letter))
        total = message + mask(self.self_seed, len(message), self.modulus)
        for other in letters:
            seed = self.mask_key.agreed(keys[other][1], "mask")
            total = total + _sign(self.place, other) * mask(seed, len(total), self.modulus)
        return total % self.modulus

    def reveal(self, senders: Collection[int]) -> tuple[dict[int, Share], dict[int, Share]]:
        """By owner, its shares of the self-masks of those who sent a message, and of the masking keys of those who did not."""
        self_shares = {owner: shares[0] for owner, shares in self.held.items() if owner in senders}
        return self_shares, {owner: shares[1] for owner, shares in self.held.items() if owner not in senders}


def secure_sum(
    messages: tuple[Tensor | None, ...], threshold: int, modulus: int, rng: Generator
) -> tuple[Tensor, Transcript]:
    """The sum modulo `modulus` of the messages (int64 [coordinates], 0 to modulus - 1) that were sent, and the transcript.

    A client whose message is None drops out after its secrets were shared. Raises: AbortedError, if fewer than `threshold`
    clients are left.
    """
    clients = [Client(place, modulus, rng) for place in range(len(messages))]
    seen = Transcript(keys={client.place: client.advertise() for client in clients})
    for client in clients:
        for receiver, letter in client.share_secrets(seen.keys, threshold).items():
            seen.letters[client.place, receiver] = letter
    for client, message in zip(clients, messages, strict=True):
        if message is not None:
            letters = {sender: letter for (sender, to), letter in seen.letters.items() if to == client.place}
            seen.masked[client.place] = client.masked_message(message, seen.keys, letters)
    left = [client for client in clients if client.place in seen.masked]
    if len(left) < threshold:
        raise AbortedError(
            f"the round was aborted: {len(left)} of {len(messages)} clients stayed to the end, fewer than the threshold of "
            f"{threshold}, so the masks cannot be taken off and the server reads nothing"
        )
    for client in left:
        self_shares, key_shares = client.reveal(seen.masked.keys())
        for found, kept in ((self_shares, seen.self_shares), (key_shares, seen.key_shares)):
            for owner, share in found.items():
                kept.setdefault(owner, []).append(share)
    return unmasked_sum(seen, threshold, modulus), seen


def protocol_bytes(clients: int) -> int:
    """Bytes that each of `clients` sends beside its message if nobody drops out: public keys, sealed letters, shares."""
    share = 2 + SECRET_BYTES
    return 2 * SECRET_BYTES + (clients - 1) * (share + SECRET_BYTES + TAG_BYTES) + clients * share


def unmasked_sum(seen: Transcript, threshold: int, modulus: int) -> Tensor:
    """The sum of the messages that were sent, computed by the server from what it received."""
    total = sum(list(seen.masked.values())[1:], next(iter(seen.masked.values())))
    for shares in seen.self_shares.values():
        total = total - mask(combined(shares[:threshold]), len(total), modulus)
    for owner, shares in seen.key_shares.items():
        key = KeyPair(combined(shares[:threshold]))
        for other in seen.masked:
            total = total - _sign(other, owner) * mask(key.agreed(seen.keys[other][1], "mask"), len(total), modulus)
    return total % modulus


def _sign(place: int, other: int) -> int:
    """Of a pair, the first adds the mask that both know, the second subtracts it."""
    return 1 if place < other else -1


def _written(self_share: Share, key_share: Share) -> bytes:
    return self_share[0].to_bytes(2, "big") + self_share[1] + key_share[1]


def _read(letter: bytes) -> tuple[Share, Share]:
    index, values = int.from_bytes(letter[:2], "big"), letter[2:]
    return (index, values[:SECRET_BYTES]), (index, values[SECRET_BYTES:])
