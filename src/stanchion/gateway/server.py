"""Run the gateway: the engine and granian in one event loop, signals, a graceful end.

SIGTERM and SIGINT: "not ready" at once, new calls refused a moment later, open ones may finish within a
bound, then everything is closed.  A second one ends at once.  SIGHUP reads the settings anew.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from stanchion.core.errors import SettingsError
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.engine.settings import GatewayOptions
from stanchion.engine.watch import Watch
from stanchion.gateway.app import Gateway
from stanchion.gateway.callers.watch import CallerWatch
from stanchion.gateway.errors import StreamAborted
from stanchion.gateway.mount import MakeMounts, no_mounts
from stanchion.observe.logs import log_event
from stanchion.stores.opening import open_caller_book

log = logging.getLogger(__name__)
# granian sets up logging, which would close our handlers: let it add nothing to what is there
_NO_LOG_SETUP: dict[str, Any] = {
    "version": 1,
    "incremental": True,
    "formatters": {},
    "handlers": {},
    "loggers": {},
}
_LAST_WORDS_S = 2.0  # seconds for cancelled calls to say that they were


async def serve(
    loaded: Loaded,
    read: Callable[[], Loaded],
    announce: Callable[[str], None],
    mounts: MakeMounts = no_mounts,
) -> None:
    """Serve until a signal ends it.  `announce` is told the address, `mounts` makes what else is served.

    Raises SettingsError if the address is taken.
    """
    options = loaded.settings.gateway
    _check_address(options)
    async with Engine(loaded) as engine, _callers(engine) as callers:
        gateway = Gateway(engine, callers)
        gateway.mounts = mounts(engine, gateway.door)
        for mount in gateway.mounts:
            await mount.begin()
        watch = Watch(engine, read)
        engine.spawn(watch.run())
        ended = asyncio.Event()
        _on_signals(ended, watch)
        server = _server(gateway, options)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve())
            serving.add_done_callback(lambda _: ended.set())
            await _accepting(options)
            host = f"[{options.host}]" if ":" in options.host else options.host
            announce(f"http://{host}:{options.port}")
            await ended.wait()
            await drain(gateway, ended)
            for mount in gateway.mounts:
                await mount.aclose()
            server.stop()


@asynccontextmanager
async def _callers(engine: Engine) -> AsyncGenerator[CallerWatch | None]:
    """Follow the caller book that is configured; None if there is none."""
    url = engine.settings.stores.callers
    if not url:
        yield None
        return
    watch = CallerWatch(
        open_caller_book(url),
        engine.clock,
        url=url,
        lost_most_s=lambda: engine.settings.callers.lost_most_s,
    )
    try:
        await watch.begin()
        engine.spawn(watch.run())
        yield watch
    finally:
        await watch.aclose()


async def drain(gateway: Gateway, ended: asyncio.Event) -> None:
    """Let open calls finish within the bound; then end them and let them say so."""
    options = gateway.engine.settings.gateway
    gateway.ready = False
    log_event(log, logging.INFO, "gateway.draining", open=len(gateway.open), within_s=options.drain_s)
    ended.clear()
    await _until(ended, options.drain_notice_s)
    gateway.refusing = True
    now = asyncio.get_running_loop().time
    give_up_at = now() + options.drain_s
    while gateway.open and now() < give_up_at and not ended.is_set():
        await _until(ended, 0.05)
    left = tuple(gateway.open)
    for task in left:
        task.cancel()
    if left:
        log_event(log, logging.WARNING, "gateway.calls_ended", count=len(left))
        await asyncio.wait(left, timeout=_LAST_WORDS_S)
    log_event(log, logging.INFO, "gateway.drained", ended=len(left))


async def _until(event: asyncio.Event, most_s: float) -> None:
    try:
        async with asyncio.timeout(most_s):
            await event.wait()
    except TimeoutError:
        return


def _server(gateway: Gateway, options: GatewayOptions) -> Server:
    for name in ("_granian", "_granian.utils"):  # a logger's filter does not reach those below it
        logging.getLogger(name).addFilter(_wanted)
    return Server(
        gateway,
        address=options.host,
        port=options.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=2048,
        backpressure=options.connections_most,
        log_level=LogLevels.error,  # its starts and stops are said by us
        log_dictconfig=_NO_LOG_SETUP,
        http1_settings=HTTP1Settings(
            header_read_timeout=int(options.header_wait_s * 1000),
            max_buffer_size=max(8192, options.header_most_bytes),
        ),
    )


def _wanted(record: logging.LogRecord) -> bool:
    """Keep the streams that we break off on purpose out of the log: they are no failure of the server's."""
    return StreamAborted.__name__ not in record.getMessage()  # granian writes the traceback into the message


def _on_signals(ended: asyncio.Event, watch: Watch) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, watch.now)


def _check_address(options: GatewayOptions) -> None:
    """Raise SettingsError if the address cannot be had: the server's own words for that are no help."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            advice = (
                "end what listens there, or choose another with --port" if taken else "choose another --host"
            )
            address = f"{options.host}:{options.port}"
            raise SettingsError(f"cannot listen at {address}: {error.strerror}; {advice}") from None


async def _accepting(options: GatewayOptions) -> None:
    """Wait until connections are accepted."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104 - compared, not bound
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection(host, options.port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    raise SettingsError(f"the server does not accept connections at {options.host}:{options.port}")
