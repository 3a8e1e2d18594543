"""Key agreement, sealed letters, secret shares and masks: the primitives of secure aggregation, by their libraries.

X25519, HKDF-SHA256, ChaCha20 and ChaCha20-Poly1305 are those of `cryptography`; Shamir's scheme over GF(2^128) is
PyCryptodome's, which draws its polynomials from the operating system, not from a seeded stream. No number that is kept
depends on them: any threshold of the shares gives the same secret.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from Crypto.Protocol.SecretSharing import Shamir
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from torch import Generator, Tensor

SECRET_BYTES = 32
TAG_BYTES = 16  # of ChaCha20-Poly1305
BLOCK = 16  # bytes that PyCryptodome shares at once

Share = tuple[int, bytes]
"""The place at which the polynomials were evaluated (1, 2, ...), and their values there: SECRET_BYTES bytes."""


def drawn_secret(rng: Generator) -> bytes:
    """32 bytes from the round's stream."""
    return torch.randint(256, (SECRET_BYTES,), generator=rng, dtype=torch.uint8).numpy().tobytes()


@dataclass(frozen=True)
class KeyPair:
    """An X25519 key pair; `private` is 32 bytes."""

    private: bytes

    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw()

    def agreed(self, other: bytes, purpose: str) -> bytes:
        """32 bytes that only the two owners can derive, one for each `purpose`; `other` is a public key."""
        shared = X25519PrivateKey.from_private_bytes(self.private).exchange(X25519PublicKey.from_public_bytes(other))
        return HKDF(algorithm=SHA256(), length=SECRET_BYTES, salt=None, info=purpose.encode()).derive(shared)


def sealed(key: bytes, letter: bytes) -> bytes:
    """`letter`, encrypted and authenticated. A key may seal one letter only: the nonce is always zero."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), letter, None)


def opened(key: bytes, letter: bytes) -> bytes:
    """What was sealed. Raises: cryptography.exceptions.InvalidTag, if it was sealed by another key or changed since."""
    return ChaCha20Poly1305(key).decrypt(bytes(12), letter, None)


def shares_of(secret: bytes, threshold: int, holders: int) -> tuple[Share, ...]:
    """One share of a 32-byte secret for each holder; any `threshold` of them give it back, fewer say nothing of it."""
    halves = [Shamir.split(threshold, holders, secret[start : start + BLOCK]) for start in (0, BLOCK)]
    return tuple((index, first + second) for (index, first), (_, second) in zip(*halves, strict=True))


def combined(shares: Iterable[Share]) -> bytes:
    """The secret that at least a threshold of shares of different holders give back; other bytes, if they are fewer."""
    held = list(shares)
    return b"".join(
        Shamir.combine([(index, value[start : start + BLOCK]) for index, value in held]) for start in (0, BLOCK)
    )


def mask(seed: bytes, size: int, modulus: int) -> Tensor:
    """`size` numbers (int64) uniform on 0 to modulus - 1, a power of two: ChaCha20's key stream in words of 8 bytes."""
    stream = Cipher(ChaCha20(seed, bytes(16)), mode=None).encryptor().update(bytes(8 * size))
    words = np.frombuffer(stream, dtype="<u8")
    return torch.from_numpy((words & np.uint64(modulus - 1)).astype(np.int64))
