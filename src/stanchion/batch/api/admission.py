"""Who may do what here: decided by whoever serves, told by these two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from stanchion.core.call import Call, Operation


class Admission(Protocol):
    """Somebody who was let in."""

    @property
    def owner(self) -> str:
        """Name the caller; "" is nobody in particular: all who call without a key of ours."""
        ...

    @property
    def key_name(self) -> str:
        """Return the public part of the caller's key; "" without one."""
        ...

    def sign(self, call: Call) -> Call:
        """Write on a call who makes it and which limits count.  Raises NotAllowed for a model that is not its."""
        ...


class Doorkeeper(Protocol):
    """Checks keys."""

    def admit(self, headers: Mapping[bytes, bytes], peer: str, operation: Operation) -> Admission:
        """Let a request in.  Raises Unauthorized, NotAllowed or Unavailable."""
        ...

    def again(self, key_name: str, operation: Operation) -> Admission:
        """Let the owner of a batch in once more, by the public part of its key.  Raises as `admit`."""
        ...
