"""The name of a row's answer: a hash of all that decides it, and of nothing else.

Two rows with the same key ask the same and are asked once; a row that was moved, or is called something else, keeps
its key; a changed template or parameter changes every key.  BLAKE2b of 16 bytes: a million rows meet by chance with
a probability of 10^-27, and a kilobyte costs about a microsecond and a half.
"""

from __future__ import annotations

from hashlib import blake2b

KEY_BYTES = 16


def job_key(*settled: bytes) -> bytes:
    """Return the key of what all rows of a job have in common.  Parts are told apart by their lengths."""
    state = blake2b(digest_size=32)
    for part in settled:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


class RowKey:
    """Names rows of one job by their content."""

    __slots__ = ("_begun",)

    def __init__(self, settled: bytes) -> None:
        """`settled` is what all rows have in common, in any length."""
        job = job_key(settled)
        # not as BLAKE2b's key: that is a block of its own, to be hashed anew for every row
        self._begun = blake2b(digest_size=KEY_BYTES, salt=job[:16], person=job[16:])

    def __call__(self, content: bytes) -> bytes:
        """Return the 16 bytes that stand for this content."""
        state = self._begun.copy()
        state.update(content)
        return state.digest()
