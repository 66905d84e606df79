"""`--engine ray`: a job whose rows are asked by workers on several machines."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stanchion.batch.job import Ended
from stanchion.batch.parts import Parts
from stanchion.batch.progress import Snapshot
from stanchion.batch.ray import RayRun
from stanchion.batch.wanted import Wanted
from stanchion.cli.batch_display import Display
from stanchion.cli.batch_running import keep_snapshot, show_progress
from stanchion.cli.signals import signals_to, take_signals
from stanchion.engine.config import Loaded

# what Ray is told before it is loaded, unless the user says otherwise
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would report to its makers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # its own logs are in its folder
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of accelerators that nobody asked for
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
_AGAIN_S = 0.25  # seconds


def run_on_ray(
    loaded: Loaded, wanted: Wanted, parts: Parts, display: Display, flags: Mapping[str, Any]
) -> tuple[Ended, Snapshot]:
    """Run a job to its end.  Raises StanchionError, OSError."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    return asyncio.run(_run(loaded, wanted, parts, display, flags))


async def _run(
    loaded: Loaded, wanted: Wanted, parts: Parts, display: Display, flags: Mapping[str, Any]
) -> tuple[Ended, Snapshot]:
    running = RayRun(wanted, loaded, parts, config=loaded.file, flags=flags)
    with display, signals_to(_stopping(running)):
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(show_progress(running, display, wanted)),
                group.create_task(_keep_signals(running)),
            ]
            try:
                ended = await running.run()
            finally:
                for each in beside:
                    each.cancel()
        done = not ended.stopped and not ended.undone
        last = msgspec.structs.replace(running.snapshot(), stage="done" if done else "stopped")
        display.show(last)
    keep_snapshot(wanted, last)
    if running.left:
        atexit.register(_leave, ended.exit_code)
    return ended, last


def _leave(exit_code: int) -> None:
    """End the process where Ray, still busy in its thread, would hold it up; its own processes end with this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _stopping(running: RayRun) -> Callable[[], None]:
    """End the workers after what is in flight; the second time at once."""
    return lambda: running.stop(now=bool(running.stopped))


async def _keep_signals(running: RayRun) -> None:
    """Take the signals again and again: when Ray joins a cluster it takes SIGTERM, and dies of it with a stack trace."""
    while True:
        await asyncio.sleep(_AGAIN_S)
        take_signals(_stopping(running))
