"""What else is served beside the gateway's own paths: other faces, put there by the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from stanchion.engine.engine import Engine
from stanchion.gateway.callers.door import Door

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Mount(Protocol):
    """Another face: an ASGI application with a beginning and an end."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths that are its, with all that is below them."""
        ...

    async def begin(self) -> None:
        """Get ready, before the first request."""
        ...

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve a request."""
        ...

    async def aclose(self) -> None:
        """End, after the last request."""
        ...


MakeMounts = Callable[[Engine, Door], Sequence[Mount]]


def no_mounts(engine: Engine, door: Door) -> Sequence[Mount]:
    """Serve nothing else."""
    del engine, door
    return ()


def mount_of(mounts: Sequence[Mount], path: str) -> Mount | None:
    """Return whose path it is; None if it is the gateway's own."""
    for mount in mounts:
        for prefix in mount.paths:
            if path == prefix or path.startswith(prefix + "/"):
                return mount
    return None
