"""A job that runs: the engine under it, the signals that stop it, the display beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec

from stanchion.batch.job import Ended, Job
from stanchion.batch.lanes.choice import LaneWish, lanes_of
from stanchion.batch.parts import Parts, model_of
from stanchion.batch.progress import Progress, Snapshot
from stanchion.batch.run import Run
from stanchion.batch.wanted import Wanted, write_whole
from stanchion.cli.batch_display import Display
from stanchion.cli.process import calm_collector, harden
from stanchion.cli.signals import signals_to
from stanchion.engine.config import Loaded
from stanchion.engine.engine import Engine
from stanchion.engine.spread_outcome import SpreadOptions

PROGRESS_FILE = "progress.json"  # beside the journal, for `status` and for whoever looks from outside
_KEPT_EVERY_S = 2.0


def run_job(loaded: Loaded, wanted: Wanted, parts: Parts, display: Display) -> tuple[Ended, Snapshot]:
    """Run a job to its end.  Raises StanchionError, OSError."""
    harden()
    calm_collector()
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.run(_run(loaded, wanted, parts, display))
    return uvloop.run(_run(loaded, wanted, parts, display))


async def _run(loaded: Loaded, wanted: Wanted, parts: Parts, display: Display) -> tuple[Ended, Snapshot]:
    async with Engine(loaded) as engine:
        options = SpreadOptions(most=wanted.concurrency, attempts=wanted.attempts)
        wish = LaneWish(wanted.lane, wanted.deadline_s or None, model_of(parts))
        lanes = lanes_of(engine, wanted.folder, wish, options, parts.cap)
        job = Job(
            parts.source,
            parts.form,
            parts.outputs,
            lanes,
            wanted.folder,
            cap=parts.cap,
            check=parts.check,
            retry_failed=wanted.retry_failed,
        )
        running = Run(job)
        progress = Progress(running.facts, engine, lanes=lanes, cap_micro_usd=wanted.max_cost_micro_usd)
        with display, signals_to(_stopping(running)):
            shown = engine.spawn(show_progress(progress, display, wanted))
            try:
                ended = await running.run()
            except asyncio.CancelledError:
                ended = Ended(running.facts, "interrupted")
            except BaseException:
                keep_snapshot(wanted, msgspec.structs.replace(progress.snapshot(), stage="failed"))
                raise
            finally:
                shown.cancel()
            done = not ended.stopped and not ended.undone
            last = msgspec.structs.replace(progress.snapshot(), stage="done" if done else "stopped")
            display.show(last)
        keep_snapshot(wanted, last)
        return ended, last


class Standing(Protocol):
    """What says how a job stands."""

    def snapshot(self) -> Snapshot:
        """Say it."""
        ...


async def show_progress(progress: Standing, display: Display, wanted: Wanted) -> None:
    """Show and keep how it stands, until cancelled."""
    loop = asyncio.get_running_loop()
    kept_at = -1e9
    shown_at = loop.time() if display.every_s > _KEPT_EVERY_S else kept_at  # a log needs no line of nothing
    every_s = min(display.every_s, _KEPT_EVERY_S)
    while True:
        snapshot, now = progress.snapshot(), loop.time()
        if now - shown_at >= display.every_s * 0.99:
            display.show(snapshot)
            shown_at = now
        if now - kept_at >= _KEPT_EVERY_S * 0.99:
            keep_snapshot(
                wanted, snapshot
            )  # a tenth of a millisecond; a thread could write it after the last one
            kept_at = now
        await asyncio.sleep(every_s)


def keep_snapshot(wanted: Wanted, snapshot: Snapshot) -> None:
    """Write down how it stands, for `status`."""
    with contextlib.suppress(OSError):  # a full disk: the journal says so, and better
        write_whole(wanted.folder / PROGRESS_FILE, msgspec.json.encode(snapshot) + b"\n")


def _stopping(running: Run) -> Callable[[], None]:
    """End the job after what is in flight; the second time at once."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - it runs

    def stop() -> None:
        if running.stopped:
            task.cancel()
        running.stop()

    return stop
