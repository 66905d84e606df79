"""`stanchion serve`: the gateway in the foreground."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from stanchion._version import __version__
from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.process import calm_collector, harden
from stanchion.cli.standin import ADVICE, StandIn
from stanchion.cli.state import with_state
from stanchion.cli.surroundings import check_surroundings
from stanchion.cli.verbosity import is_verbose, verbose_option
from stanchion.core.errors import SettingsError
from stanchion.engine.config import Loaded, load
from stanchion.engine.settings import LogSettings
from stanchion.observe.logs import log_event, set_up

log = logging.getLogger(__name__)


@click.command("serve")
@settings_options
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 8080]")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]")
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "plain"]),
    help="auto is plain at a terminal and JSON otherwise.  [default: auto]",
)
@verbose_option
def command(
    config: Path | None,
    sets: tuple[str, ...],
    host: str | None,
    port: int | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Serve an OpenAI-compatible API that retries, falls back and tells the truth.

    Without a provider key or a settings file the built-in simulator answers, and says so.

    \b
    Examples:
      stanchion serve
          At http://127.0.0.1:8080/v1.
      OPENAI_API_KEY=... stanchion serve --port 9000
          In front of OpenAI, at another port.
      OPENAI_API_KEY=... OPENAI_BASE_URL=http://10.0.0.5:8000/v1 stanchion serve
          In front of any server that speaks OpenAI's protocol.
      stanchion serve --config /etc/stanchion.toml --log-format json
          With providers and routes from a file.  It is read anew when it changes, and at SIGHUP.
      stanchion serve --set retry.attempts=5 --set gateway.drain_s=60
          Single settings over the file.

    SIGTERM and Ctrl-C let open answers finish; a second one ends at once.
    """  # noqa: D301 - click reads \b
    level = log_level or ("debug" if is_verbose() else None)
    flags = flags_of(sets, gateway__host=host, gateway__port=port, log__level=level, log__format=log_format)
    harden()
    stand_in = StandIn()
    try:
        first = load(config, flags=flags)
        check_surroundings(first)
        if first.simulated:
            stand_in.start()  # it starts while we do
        if first.settings.gateway.port == 0:
            flags["gateway.port"] = _free_port(first.settings.gateway.host)
        lines = set_up(first.settings.log.level, json=_json(first.settings.log))
        try:
            _run(lambda: with_state(stand_in.read(config, flags)))
        finally:
            lines.close()
    finally:
        stand_in.close()


def _run(read: Callable[[], Loaded]) -> None:
    from stanchion.cli.serve_faces import faces  # noqa: PLC0415 - the simulator starts meanwhile
    from stanchion.gateway.server import serve  # noqa: PLC0415

    loaded = read()
    _say_what_to_know(loaded)
    _run_loop(serve(loaded, read, lambda address: _announce(address, loaded), faces(loaded)))


def _run_loop(job: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        asyncio.run(job)
        return
    uvloop.run(job)


def _say_what_to_know(loaded: Loaded) -> None:
    """Log what a person should know before the first call."""
    if loaded.simulated:
        log_event(log, logging.WARNING, "simulator.answers", why="no provider is configured", advice=ADVICE)
    host = loaded.settings.gateway.host
    if not _loopback(host) and not loaded.settings.callers.required:
        log_event(
            log,
            logging.WARNING,
            "gateway.open_to_the_network",
            host=host,
            why="callers need no key here: whoever reaches this address spends yours; see callers.required",
        )


def _announce(address: str, loaded: Loaded) -> None:
    """Say that calls are accepted."""
    calm_collector()
    log_event(
        log,
        logging.INFO,
        "gateway.listening",
        address=address,
        version=__version__,
        settings=str(loaded.file or "defaults"),
        providers=", ".join(loaded.settings.providers),
    )
    click.echo(_banner(address, loaded) if sys.stdout.isatty() else address)
    sys.stdout.flush()


def _banner(address: str, loaded: Loaded) -> str:
    model = next(iter(loaded.settings.routes), "gpt-4o-mini")
    answers = ", ".join(loaded.settings.providers)
    if loaded.simulated:
        answers = f"the built-in simulator, since no provider is configured\n            {ADVICE}"
    # a terminal breaks no line of this: it is there to be copied
    curl = (
        f"curl {address}/v1/chat/completions -d "
        f"""'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'"""
    )
    return "\n".join(
        (
            "",
            f"  Stanchion {__version__} listens at {address}",
            "",
            f"  base URL  {address}/v1",
            f"  answers   {answers}",
            f"  try       {curl}",
            f"  more      {address}/   and   stanchion serve --help",
            "  end       Ctrl-C",
            "",
        )
    )


def _json(settings: LogSettings) -> bool:
    return settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise SettingsError(f"cannot listen at {host}: {error.strerror}") from None
        return int(probe.getsockname()[1])


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
