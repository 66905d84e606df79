"""The simulator as a server on a port, for tests in the same process and for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from types import TracebackType

from stanchion.simulator import tokens
from stanchion.simulator.batch_object import Batch
from stanchion.simulator.batch_options import BatchFaultPlan
from stanchion.simulator.connection import Connection
from stanchion.simulator.faults import FaultPlan
from stanchion.simulator.keys import KeyTable
from stanchion.simulator.log import CallLog
from stanchion.simulator.options import SimulatorOptions
from stanchion.simulator.provider import Provider
from stanchion.simulator.quota import Quota
from stanchion.simulator.state import State

_BACKLOG = 2048


class PortTaken(Exception):
    """The address is in use by another program."""


class Simulator:
    """An OpenAI-compatible provider: `async with Simulator(SimulatorOptions(...)) as sim: ... sim.base_url`.

    Runs on the loop that entered it, starts no task and no thread. `calls` and `faults` may be read and changed
    at any time on that loop.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self._connections: set[Connection] = set()
        self._state = State(self.options, lambda: len(self._connections))
        self._provider = Provider(self._state)
        self._server: asyncio.Server | None = None
        self._port = self.options.port

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen. Raises PortTaken if the address is in use."""
        tokens.warm()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._connect, self.options.host, self.options.port, backlog=_BACKLOG, reuse_address=True
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"{self.options.host}:{self.options.port} is in use by another program"
                ) from error
            raise
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self, *, grace_s: float = 0.0) -> None:
        """Stop listening, give running calls `grace_s` to end, then close every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._provider.batches.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle()
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # connection_lost is called by the loop's next turn
        await asyncio.sleep(0)

    @property
    def port(self) -> int:
        """The port it listens on; the real one if 0 was asked for."""
        return self._port

    @property
    def origin(self) -> str:
        """`http://host:port`."""
        host = self.options.host
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL: the origin with `/v1`."""
        return f"{self.origin}/v1"

    @property
    def calls(self) -> CallLog:
        """What arrived."""
        return self._state.calls

    @property
    def keys(self) -> KeyTable:
        """What has become of single keys."""
        return self._state.keys

    @property
    def faults(self) -> FaultPlan:
        """The plan of faults."""
        return self._state.faults

    @property
    def batches(self) -> list[Batch]:
        """The batches, the oldest first."""
        return self._provider.batches.all()

    @property
    def batch_faults(self) -> BatchFaultPlan:
        """What goes wrong with the next batches."""
        return self._state.batch_faults

    @property
    def quota(self) -> Quota:
        """The accounts."""
        return self._state.quota

    @property
    def open_streams(self) -> int:
        """Streams that have not ended."""
        return self._state.open_streams

    @property
    def open_connections(self) -> int:
        """TCP connections now."""
        return len(self._connections)

    @property
    def running_calls(self) -> int:
        """Requests that arrived and whose reply has not ended, silent ones too."""
        return sum(1 for connection in self._connections if connection.current is not None)

    async def _idle(self) -> None:
        """Return when no call runs; looked at twenty times a second, there is nothing to be told by."""
        idle = asyncio.Event()
        loop = asyncio.get_running_loop()

        def look() -> None:
            if self.running_calls:
                loop.call_later(0.05, look)
            else:
                idle.set()

        look()
        await idle.wait()

    def _connect(self) -> Connection:
        return Connection(self._provider.serve, self._connections, self._body_most)

    def _body_most(self, target: bytes) -> int:
        uploads = target.startswith(b"/v1/files")
        return self.options.max_file_bytes if uploads else self.options.max_body_bytes
