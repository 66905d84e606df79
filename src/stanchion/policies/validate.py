"""Refuse a call whose body has the wrong shape, before anything is counted against anyone.

Before: checks.  After: nothing.  Stands above all that keeps state.
"""

from __future__ import annotations

from collections.abc import Awaitable

from stanchion.core.call import Call
from stanchion.core.errors import InvalidCall
from stanchion.core.reply import Reply
from stanchion.core.service import Service
from stanchion.rules.shapes import problem


class Validate:
    """Shape only: unknown fields pass."""

    def __call__(self, call: Call, service: Service, /) -> Awaitable[Reply]:
        """Pass a well-shaped call on.  Raises InvalidCall, the caller's fault."""
        found = problem(call.operation, call.body.fields)
        if found is not None:
            param, message = found
            raise InvalidCall(message, param=param)
        return service(call)
