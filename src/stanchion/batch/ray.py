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
import threading
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
from stanchion.batch.ray_cluster import CLUSTER_WAIT_S, await_cluster, check_address, unreachable
from stanchion.batch.ray_worker import (
    PROGRESS_FILE,
    STARTS_FILE,
    STOP_FILE,
    Plan,
    ShardEnd,
    ShardWorker,
    settings_digest,
    settled_digest,
    with_money,
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
_LOOK_S = 0.1  # seconds between two looks whether Ray is done
_AT_ONCE_S = 15.0  # seconds that workers may take to end when they were told to end at once


def check_ray(wanted: Wanted, loaded: Loaded) -> None:
    """Refuse what cannot work, before anything is started.  Raises SettingsError."""
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise SettingsError(_ADVICE)
    if loaded.simulated:
        raise SettingsError(
            "on Ray a job needs a provider in the settings: `stanchion config init` writes a file"
        )
    if wanted.ray_address:
        check_address(wanted.ray_address)
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
        self._patience: asyncio.Timeout | None = None  # while the cluster is looked at
        self._leave_at = float("inf")
        self.stopped: Literal["", "interrupted"] = ""
        self.left = False  # whether Ray was left alone in its thread: the process must end without it

    def stop(self, *, now: bool = False) -> None:
        """Let all workers end after what is in flight, or at once."""
        self.stopped = "interrupted"
        if self._patience is not None:
            self._patience.reschedule(0.0)
        if now and self._leave_at == float("inf"):
            self._leave_at = time.monotonic() + _AT_ONCE_S
        write_whole(self._wanted.folder / STOP_FILE, b"now" if now else b"stop")

    async def run(self) -> Ended:
        """Do the job.  Raises StanchionError, OSError."""
        folder = self._wanted.folder
        lock = take_lock(folder / "lock")
        try:
            (folder / STOP_FILE).unlink(missing_ok=True)
            await self._await_cluster()
            plan = await asyncio.to_thread(self._plan)
            if self.stopped:
                return Ended(Facts(), self.stopped)
            plan = await with_money(plan, self._loaded)
            asking = _Asking(plan)
            asking.start()
            while asking.is_alive():
                if self._may_leave():
                    self.left = True
                    return Ended(Facts(), self.stopped)
                await asyncio.sleep(_LOOK_S)
            return await self._end(asking.ends())
        finally:
            os.close(lock)

    async def _await_cluster(self) -> None:
        """See that the cluster can be joined, until it is stopped.  Raises StanchionError."""
        address = self._wanted.ray_address
        if not address or self.stopped:
            return
        try:
            async with asyncio.timeout(CLUSTER_WAIT_S) as self._patience:
                await await_cluster(address)
        except TimeoutError:
            if not self.stopped:
                raise unreachable(address) from None
        finally:
            self._patience = None

    def _may_leave(self) -> bool:
        """Whether nobody is worth waiting for: it was stopped, and no worker has begun, or all were told to end at once."""
        if not self.stopped:
            return False
        folders = [
            shard_folder(self._wanted.folder, number, self._shards) for number in range(1, self._shards + 1)
        ]
        begun = any((each / STARTS_FILE).exists() for each in folders)
        return not begun or time.monotonic() > self._leave_at

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


class _Asking(threading.Thread):
    """The thread in which Ray does the shares.  Nothing interrupts Ray, so nobody has to wait for this one."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(name="ray", daemon=True)
        self._plan = plan
        self._ends: Sequence[ShardEnd] = ()
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._ends = _ask(self._plan)
        except Exception as error:  # noqa: BLE001 - it is raised where the thread is waited for
            self._error = error

    def ends(self) -> Sequence[ShardEnd]:
        """Return how the shares ended.  Raises what Ray raised."""
        if self._error is not None:
            raise self._error
        return self._ends


def _ask(plan: Plan) -> Sequence[ShardEnd]:
    """Let Ray's workers do all shares.  Raises StanchionError."""
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
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise StanchionError(f"Ray cannot be reached: {error}") from error
    return ray
