"""Where a key's value comes from: one protocol for all of them.

A source's name stands in messages; it is the name of a variable, a file or a program, never a value.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.core.secret import Secret


class Found(msgspec.Struct, frozen=True):
    """What a source gave."""

    secret: Secret
    good_for_s: float | None = None  # seconds until it expires; None is not known


class SourceFailed(SettingsError):
    """A source gave nothing that can be used.  `code` says why in a word; the message by name, never by value."""

    code = "source_failed"


class KeySource(Protocol):
    """One place that holds one key."""

    @property
    def name(self) -> str:
        """Say what it is: "the file /run/secrets/openai"."""
        ...

    @property
    def every_s(self) -> float:
        """Say how often it is worth reading anew, in seconds; `inf` is never."""
        ...

    def read_now(self) -> Found | None:
        """Read it if that takes no waiting, else return None.  Raises SourceFailed."""
        ...

    async def read(self) -> Found:
        """Read it.  Raises SourceFailed.  Cancel: nothing is left running."""
        ...


def sealed(value: str, name: str) -> Secret:
    """Make a value a Secret.  Raises SourceFailed by the source's name, and holds the value in no traceback."""
    try:
        return Secret(value, name=f"the key in {name}")
    except ValueError as error:
        said = str(error)
    value = ""  # a traceback with locals would show it
    raise SourceFailed(said, code="malformed")
