"""Bound one attempt, so that a retry sees a slow endpoint as an error it may act on.

Before: tells the provider how patient to be; the provider enforces it where the socket is read, which
costs one timer per attempt and nothing per chunk.  Stands next to the provider: it bounds one try.
"""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from stanchion.core.call import Call, Patience
from stanchion.core.reply import Reply
from stanchion.core.service import Service


class AttemptTimeoutOptions(msgspec.Struct, frozen=True):
    """How long one attempt may wait, in seconds."""

    connect_s: float = 5.0  # until a connection stands
    first_token_s: float = 120.0  # of a stream: until the first byte of the answer
    stall_s: float = 60.0  # of a stream: between two reads
    total_s: float = 600.0  # of one attempt, whole or streamed

    def patience(self) -> Patience:
        """Return the same as the provider reads it."""
        return Patience(
            connect_s=self.connect_s,
            first_token_s=self.first_token_s,
            stall_s=self.stall_s,
            total_s=self.total_s,
        )


class AttemptTimeout:
    """Sets the attempt's patience."""

    def __init__(self, options: AttemptTimeoutOptions) -> None:
        self._options = options
        self._patience = options.patience()

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass the call on with its patience."""
        options = call.option(AttemptTimeoutOptions, self._options)
        patience = self._patience if options is self._options else options.patience()
        return service(call if patience == call.patience else call.having(patience=patience))
