"""The form of a caller's key: `sk-st-<id>-<secret><checksum>`.

The id (8 characters) is public: it names the key in lists and logs.  The secret (43) holds 256 random bits.  The
checksum (6) is the CRC-32 of all that stands before it, in base 62 as everything else: a mistyped or cut key is told
from an unknown one without asking anybody, and a scanner that looks for leaked keys finds no false ones.  The
checksum proves nothing; the HMAC does.  The idea is that of GitHub's tokens (2021).

Draws no lots: who makes a key brings the random bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib

import msgspec

PREFIX = "sk-st-"
RANDOM_BYTES = 38  # 6 for the id, 32 for the secret
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECK = 8, 43, 6
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_ID}}}-[0-9A-Za-z]{{{_SECRET + _CHECK}}}")
_ID_FORM = re.compile(rf"[0-9A-Za-z]{{{_ID}}}")


class VirtualKey(msgspec.Struct, frozen=True):
    """A key that was just made: the one moment in which it is there in the clear."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"<VirtualKey {self.id}>"


def make_key(random: bytes) -> VirtualKey:
    """Make a key of `RANDOM_BYTES` random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a key is made of {RANDOM_BYTES} random bytes")
    name = _base62(int.from_bytes(random[:6], "big") % 62**_ID, _ID)
    body = f"{PREFIX}{name}-{_base62(int.from_bytes(random[6:], 'big'), _SECRET)}"
    return VirtualKey(name, body + checksum(body))


def checksum(body: str) -> str:
    """Return the six characters that end a key."""
    return _base62(zlib.crc32(body.encode()), _CHECK)


def read_id(text: str) -> str | None:
    """Return the id of a key that is whole; None if it is none of ours, mistyped or cut."""
    if not _FORM.fullmatch(text) or checksum(text[:-_CHECK]) != text[-_CHECK:]:
        return None
    return text[len(PREFIX) : len(PREFIX) + _ID]


def glance_id(text: str) -> str:
    """Return what stands where a key has its id, without a look at the rest; "" if there is no such place.

    For who compares the whole by its digest anyway: the checksum costs as much as that.
    """
    start = len(PREFIX)
    return text[start : start + _ID] if text[start + _ID : start + _ID + 1] == "-" else ""


def is_id(text: str) -> bool:
    """Say whether this has the form of a key's id."""
    return _ID_FORM.fullmatch(text) is not None


def digest_of(text: str, pepper: bytes) -> bytes:
    """Return what is stored of a key."""
    return hmac.digest(pepper, text.encode(), hashlib.sha256)


def _base62(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
