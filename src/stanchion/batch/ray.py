"""A job on Ray: its rows are split in shares, Ray Data's pool of actors works on those, the output is put together here.

The workers know of each other through a store alone: there they keep the providers' limits and the job's money, so
the sum of what they do never passes either.  The journals stand on a path that all machines share.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from stanchion.batch.job import Ended, Facts, Job
from stanchion.batch.journals import Journals
from stanchion.batch.leased_cap import Purse
from stanchion.batch.outputs import write_outputs
from stanchion.batch.parts import Parts
from stanchion.batch.progress import Snapshot
from stanchion.batch.progress_sum import total
from stanchion.batch.ray_worker import (
    PROGRESS_FILE,
    STARTS_FILE,
    STOP_FILE,
    Plan,
    ShardEnd,
    ShardWorker,
    settings_digest,
    settled_digest,
)
from stanchion.batch.shards import journal_folders, shard_folder, shards_kept, spent_micro_usd
from stanchion.batch.wanted import Wanted, as_kept, write_whole
from stanchion.core.errors import SettingsError, StanchionError
from stanchion.engine.config import Loaded
from stanchion.rules.row_key import RowKey
from stanchion.stores.journal.lock import take_lock

_ADVICE = "Ray is not installed: pip install 'stanchion[ray,redis]'"
_SLICES = 16  # of the money, for each worker
_OBJECTS_BYTES = (
    100 * 1024 * 1024
)  # of Ray's memory for objects, where Ray is our own: only shares go through it


def check_ray(wanted: Wanted, loaded: Loaded) -> None:
    """Refuse what cannot work, before anything is started.  Raises SettingsError."""
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise SettingsError(_ADVICE)
    if loaded.simulated:
        raise SettingsError(
            "on Ray a job needs a provider in the settings: `stanchion config init` writes a file"
        )
    limits = loaded.settings.stores.limits
    if limits == "memory":
        raise SettingsError(
            "on Ray the workers share the providers' limits in a store: "
            '--set stores.limits=redis://HOST:6379/0, or limits = "redis://…" under [stores]'
        )
    if wanted.ray_address and limits.startswith("sqlite"):
        raise SettingsError("machines cannot share a SQLite file: --set stores.limits=redis://HOST:6379/0")
    if wanted.shards:
        raise SettingsError("--shard does not go with --engine ray, which splits the job itself")
    if (wanted.folder / "answers").exists():
        raise SettingsError(
            f"{wanted.output} was begun without Ray: end it so, or choose another output, or --fresh to pay again"
        )


class RayRun:
    """One run of a job on Ray.  Make it on the loop, `await run()` once."""

    def __init__(
        self, wanted: Wanted, loaded: Loaded, parts: Parts, *, config: Path | None, flags: Mapping[str, Any]
    ) -> None:
        self._wanted = as_kept(wanted)
        self._loaded = loaded
        self._parts = parts
        self._config = str(config.absolute()) if config is not None else ""
        self._flags = flags
        self._began_at = time.monotonic()
        self._expected = 0
        self._shards = 0
        self._writing = False
        self.stopped: Literal["", "interrupted"] = ""

    def stop(self, *, now: bool = False) -> None:
        """Let all workers end after what is in flight, or at once."""
        self.stopped = "interrupted"
        write_whole(self._wanted.folder / STOP_FILE, b"now" if now else b"stop")

    async def run(self) -> Ended:
        """Do the job.  Raises StanchionError, OSError."""
        folder = self._wanted.folder
        lock = take_lock(folder / "lock")
        try:
            (folder / STOP_FILE).unlink(missing_ok=True)
            plan = await asyncio.to_thread(self._plan)
            ends = await asyncio.to_thread(_ask, plan)
            return await self._end(ends)
        finally:
            os.close(lock)

    def snapshot(self) -> Snapshot:
        """Say how all workers together stand."""
        found: list[Snapshot] = []
        for number in range(1, self._shards + 1):
            file = shard_folder(self._wanted.folder, number, self._shards) / PROGRESS_FILE
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                found.append(msgspec.json.decode(file.read_bytes(), type=Snapshot))
        sum_of_all = total(
            found,
            of=self._shards,
            expected=self._expected,
            seconds=time.monotonic() - self._began_at,
            cap_micro_usd=self._wanted.max_cost_micro_usd,
        )
        return msgspec.structs.replace(sum_of_all, stage="writing") if self._writing else sum_of_all

    def _plan(self) -> Plan:
        """Split the job, and see what is left of its money."""
        wanted, folder = self._wanted, self._wanted.folder
        self._expected = self._parts.source.size()
        shards = shards_kept(folder) or wanted.workers
        folders = [shard_folder(folder, number, shards) for number in range(1, shards + 1)]
        for each in folders:
            each.mkdir(parents=True, exist_ok=True)
            for name in (PROGRESS_FILE, STARTS_FILE):
                (each / name).unlink(missing_ok=True)
        self._shards = shards
        purse = None
        if wanted.max_cost_micro_usd is not None:
            left = max(0, wanted.max_cost_micro_usd - spent_micro_usd(folders))
            purse = Purse(f"batch/{os.urandom(8).hex()}", left, max(1, left // (_SLICES * shards)))
        return Plan(
            wanted,
            shards,
            self._config,
            self._flags,
            settings_digest(self._loaded),
            settled_digest(self._parts),
            purse,
        )

    async def _end(self, ends: Sequence[ShardEnd]) -> Ended:
        errors = [each.error for each in ends if each.error]
        if errors:
            raise StanchionError(errors[0])
        stopped = {each.stopped for each in ends} - {""}
        undone = sum(each.undone for each in ends)
        if stopped or undone:
            why = "interrupted" if self.stopped or "interrupted" in stopped else "cost_cap"
            return Ended(Facts(), why if stopped else "", undone=undone)
        self._writing = True
        done = await asyncio.to_thread(_merge, self._parts, self._wanted.folder)
        return Ended(Facts(), rows=done.rows, rows_failed=done.failed)


def _merge(parts: Parts, folder: Path) -> Any:
    job = Job(parts.source, parts.form, parts.outputs, (), folder)
    with Journals(journal_folders(folder)) as journals:
        return write_outputs(job, RowKey(parts.form.settled), journals)


def _ask(plan: Plan) -> Sequence[ShardEnd]:
    """Let Ray's workers do all shares; in a thread.  Raises StanchionError."""
    ray = _started(plan.wanted)
    try:
        data = importlib.import_module("ray.data")
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        workers = min(plan.wanted.workers, plan.shards)
        shares = data.from_items(
            [{"shard": number} for number in range(1, plan.shards + 1)], override_num_blocks=plan.shards
        )
        done = shares.map(
            ShardWorker,
            fn_constructor_args=(plan,),
            compute=data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
        )
        return [msgspec.convert(row, ShardEnd) for row in done.iter_rows()]
    except (ray.exceptions.RayError, ConnectionError) as error:
        first = str(error).strip().splitlines()[-1]
        raise StanchionError(f"Ray: {first}; run the same command again to go on") from error
    finally:
        ray.shutdown()


def _started(wanted: Wanted) -> Any:
    """Start Ray, or join one.  Raises StanchionError."""
    ray = importlib.import_module("ray")
    given: dict[str, Any] = {"address": wanted.ray_address}
    if not wanted.ray_address:
        given = {
            "address": "local",
            "num_cpus": wanted.workers,
            "include_dashboard": False,
            "object_store_memory": _OBJECTS_BYTES,
        }
    try:
        ray.init(logging_level="ERROR", log_to_driver=False, **given)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StanchionError(f"Ray cannot be reached: {error}") from error
    return ray
