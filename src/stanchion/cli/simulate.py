"""`stanchion simulate`: the simulated provider in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec

from stanchion.cli.verbosity import verbose_option
from stanchion.simulator import (
    REALISTIC,
    BatchFault,
    BatchOptions,
    Fault,
    Limits,
    PortTaken,
    Simulator,
    SimulatorOptions,
    Timing,
)

try:
    import uvloop
except ImportError:  # not on Windows; asyncio's own loop serves about a third fewer
    uvloop = None

_GRACE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flags:
    """The command's options as click gives them; the names are the flags'."""

    host: str
    port: int
    ttft: float
    tokens_per_s: float
    rpm: int | None
    tpm: int | None
    rpd: int | None
    quota_mode: str
    fault: tuple[str, ...]
    faults: Path | None
    keys: tuple[str, ...]
    seed: int
    batch_work: float
    batch_window: float
    enqueued_tokens: int | None
    batch_fault: tuple[str, ...]
    instant: bool
    until_eof: bool


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8090,
    show_default="8090",
    help="Port; 0 takes a free one.",
)
@click.option(
    "--ttft", default=REALISTIC.ttft_s, show_default=True, help="Median time to first token, seconds."
)
@click.option(
    "--tokens-per-s", default=REALISTIC.tokens_per_s, show_default=True, help="Median speed of a stream."
)
@click.option("--instant", is_flag=True, help="No waiting at all: time to first token and gaps are zero.")
@click.option("--rpm", type=int, help="Requests per minute for each key and model. Default: no limit met.")
@click.option("--tpm", type=int, help="Tokens per minute for each key and model. Default: no limit met.")
@click.option("--rpd", type=int, help="Requests per day for each key and model. Default: none.")
@click.option(
    "--quota-mode",
    type=click.Choice(["bucket", "burst-1s", "sliding"]),
    default="bucket",
    show_default=True,
    help="How the limits are enforced: as OpenAI does, with one-second bursts, or in a sliding window.",
)
@click.option("--fault", multiple=True, help="A fault, as 503, 429:retry_after=2, cut:5, silence,rate=0.01.")
@click.option(
    "--faults", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON list of faults."
)
@click.option("--keys", multiple=True, help="Accept only this API key. Default: any key, or none.")
@click.option("--seed", default=0, show_default=True, help="Seed of timing and of faults by rate.")
@click.option("--batch-work", default=0.0, show_default=True, help="Seconds the rows of a batch take.")
@click.option(
    "--batch-window", default=86_400.0, show_default=True, help="Seconds after which a batch expires."
)
@click.option(
    "--enqueued-tokens", type=int, help="Prompt tokens that may wait in batches. Default: no limit."
)
@click.option("--batch-fault", multiple=True, help="What goes wrong with a batch, as expire:0.5, no_output.")
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input does.")
@verbose_option
def simulate(**options: object) -> None:
    """Play an OpenAI-compatible provider: deterministic answers, exact usage, quotas, and faults on demand.

    \b
    Examples:
      stanchion simulate
          Answers at http://127.0.0.1:8090/v1 as a real model would, 350 ms to the first token.
      stanchion simulate --instant --port 0
          No waiting, a free port; the first line printed is the base URL.
      stanchion simulate --rpm 60 --tpm 30000
          Refuses beyond the quota, with OpenAI's headers and texts.
      stanchion simulate --fault 503 --fault cut:5,end=abort
          The first call fails, the second breaks off after five events, all others are fine.
      stanchion simulate --fault 429:retry_after=2,rate=0.1 --fault flap:30
          A tenth of the calls get 429; for 30 s in every 60 s all others get 503.
      stanchion simulate --batch-work 20 --batch-window 60 --batch-fault expire:0.5
          Batches take 20 s; the first expires after a minute, half done.
      curl -s localhost:8090/_sim/calls
          What arrived: attempts, faults, who left when.
      curl -s -X PUT localhost:8090/_sim/faults -d '["silence", "html"]'
          Change the faults while it runs. In a request, the model "fault-cut-5" does the same for one call.

    The table of faults stands in the guide "Test your application against faults".
    """  # noqa: D301 - click reads \b
    flags = msgspec.convert(options, _Flags)
    try:
        chosen = _options(flags)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    try:
        _run(chosen, until_eof=flags.until_eof)
    except PortTaken as error:
        raise click.ClickException(
            f"{error}; choose another with --port, or --port 0 for a free one"
        ) from error
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror}"
        ) from error


command = simulate


def _options(flags: _Flags) -> SimulatorOptions:
    """Raises ValueError for a fault that cannot be read."""
    timing = (
        Timing() if flags.instant else replace(REALISTIC, ttft_s=flags.ttft, tokens_per_s=flags.tokens_per_s)
    )
    usual = Limits()
    return SimulatorOptions(
        host=flags.host,
        port=flags.port,
        timing=timing,
        limits=Limits(rpm=flags.rpm or usual.rpm, tpm=flags.tpm or usual.tpm, rpd=flags.rpd),
        quota_mode=flags.quota_mode,  # pyright: ignore[reportArgumentType] - click has checked the choice
        faults=(*map(Fault.parse, flags.fault), *_faults_of(flags.faults)),
        keys=flags.keys,
        batches=BatchOptions(
            work_s=flags.batch_work,
            window_s=flags.batch_window,
            enqueued_tokens_most=flags.enqueued_tokens,
        ),
        batch_faults=tuple(map(BatchFault.parse, flags.batch_fault)),
        seed=flags.seed,
    )


def _faults_of(path: Path | None) -> tuple[Fault, ...]:
    if path is None:
        return ()
    try:
        given = msgspec.json.decode(path.read_bytes(), type=list[str | dict[str, object]])
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path}: not a JSON list of faults: {error}") from error
    return tuple(Fault.of(fault) for fault in given)


def _run(options: SimulatorOptions, *, until_eof: bool) -> None:
    """Serve until SIGINT or SIGTERM, or the end of standard input."""
    factory = uvloop.new_event_loop if uvloop is not None else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(options, until_eof=until_eof))


async def _serve(options: SimulatorOptions, *, until_eof: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if until_eof:
        # whoever started us holds the other end: it closes with them, even if they are killed
        threading.Thread(target=_at_eof, args=(loop, stop), daemon=True).start()
    if sys.platform != "win32":
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)
    simulator = Simulator(options)
    await simulator.start()
    click.echo(simulator.base_url)
    click.echo(f"calls: {simulator.origin}/_sim/calls   faults: {simulator.origin}/_sim/faults", err=True)
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await simulator.aclose(grace_s=_GRACE_S)
    click.echo(f"stopped after {simulator.calls.total} calls", err=True)


def _at_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Read standard input to its end, from a thread: not every loop can watch every kind of input."""
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(stop.set)
