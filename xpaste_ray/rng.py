"""Random numbers keyed by what they are for, never by when or where they are drawn.

Every random choice in this package comes from `rng_for(seed, purpose, *ids)`. The same arguments
give the same stream in any process, batch or order of arrival, and different arguments give
independent streams: seed 7, image 3 has nothing in common with seed 8, image 2.
"""

import struct
from hashlib import blake2b

import numpy as np


def _encode(part: str | int) -> bytes:
    """Length-prefixed and tagged by type, so that ("ab", "c"), ("a", "bc") and 1, "1" differ."""
    if isinstance(part, str):
        tag, data = b"s", part.encode()
    else:
        tag, data = b"i", str(int(part)).encode()
    return tag + struct.pack("<Q", len(data)) + data


def key_for(seed: int, purpose: str, *ids: str | int) -> bytes:
    """The 16-byte key behind `rng_for`: BLAKE2b of the length-prefixed arguments."""
    return blake2b(b"".join(map(_encode, (seed, purpose, *ids))), digest_size=16).digest()


def rng_for(seed: int, purpose: str, *ids: str | int) -> np.random.Generator:
    """A fresh Philox generator. Same arguments, same stream."""
    key = np.frombuffer(key_for(seed, purpose, *ids), dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))


def int_seed_for(seed: int, purpose: str, *ids: str | int, bits: int = 63) -> int:
    """A non-negative integer below 2**bits for libraries that seed themselves (torch, OpenCV)."""
    return int.from_bytes(key_for(seed, purpose, *ids), "little") & ((1 << bits) - 1)
