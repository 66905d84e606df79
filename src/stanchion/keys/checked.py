"""What a provider says of a key when it is asked for nothing but its list of models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from stanchion.core.secret import Secret
from stanchion.keys.slot import KeySpec


class Checked(msgspec.Struct, frozen=True):
    """The answer."""

    what: Literal["ok", "refused", "unreachable"]  # unreachable: nothing is known
    code: str = ""  # why it was refused or not reached
    headers: tuple[tuple[str, str], ...] = ()  # to whom it is billed


Check = Callable[[KeySpec, Secret], Awaitable[Checked]]
