"""What a worker of Ray does with its share of a job: the same run as on one machine, with a journal of its own.

It reads the settings where it runs, so no key travels.  A worker that died is started again by Ray, with the same
share: it goes on from that share's journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from stanchion.batch.job import Ended, Job
from stanchion.batch.lanes.choice import LaneWish, lanes_of
from stanchion.batch.leased_cap import LeasedCap, Purse, opened
from stanchion.batch.parts import Parts, model_of, parts_of
from stanchion.batch.progress import Progress
from stanchion.batch.run import Run
from stanchion.batch.selection import SelectedSource, Selection
from stanchion.batch.shards import shard_folder
from stanchion.batch.wanted import Wanted, write_whole
from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError, StanchionError
from stanchion.engine.config import Loaded, load
from stanchion.engine.engine import Engine
from stanchion.engine.model_facts import Models
from stanchion.engine.spread_outcome import SpreadOptions
from stanchion.stores.journal.errors import JournalBusy
from stanchion.stores.journal.lock import holder_of
from stanchion.stores.opening import open_budgets
from stanchion.stores.protocols import StoreLost

STOP_FILE = "stop"  # in the job's folder: "stop" ends it after what is in flight, "now" at once
PROGRESS_FILE = "progress.json"  # in a share's folder
STARTS_FILE = "starts"  # there, too: a byte for each time that the share was begun in this run
_STARTS_MOST = 20  # Ray starts a worker that died again and again: one that always dies has a reason
_LOOK_S = 0.5  # seconds between two looks at the stop file, and two notes of how it stands
_STORE_S = 10.0  # seconds that the store of the money may take when a job begins
_DYING_S = 180.0  # seconds that the worker before may take to be gone; a lock on NFS outlives a lost machine


class Plan(msgspec.Struct, frozen=True):
    """All that a worker is told.  It goes through Ray: no key, no prompt."""

    wanted: Wanted
    shards: int
    config: str  # the settings file, "" is none
    flags: Mapping[str, Any]  # settings over it
    settings: str  # a digest: the worker's must be the same
    settled: str  # a digest of all that decides an answer beside the row
    purse: Purse | None = None


class ShardEnd(msgspec.Struct, frozen=True):
    """How a share ended."""

    shard: int
    stopped: str = ""
    undone: int = 0
    error: str = ""


class ShardWorker:
    """What Ray Data makes in each of its actors and calls with one share after the other."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Do a share.  Its error is told, not raised: Ray would ask for it again."""
        number = int(row["shard"])
        try:
            end = run_shard(self._plan, number)
        except (StanchionError, OSError) as error:
            end = ShardEnd(number, error=f"worker on {socket.gethostname()}: {error}")
        return msgspec.structs.asdict(end)


def settings_digest(loaded: Loaded) -> str:
    """Return what two processes with the same settings have in common."""
    raw = msgspec.json.encode(loaded.settings, order="sorted")
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def settled_digest(parts: Parts) -> str:
    """Return what two processes that ask the same of each row have in common."""
    return hashlib.blake2b(parts.form.settled, digest_size=16).hexdigest()


async def with_money(plan: Plan, loaded: Loaded) -> Plan:
    """Put the job's money into the store that the workers share.  Raises StanchionError."""
    if plan.purse is None:
        return plan
    clock = Clock()
    store = open_budgets(money_store(loaded), clock)
    try:
        with clock.timeout_at(clock.now() + _STORE_S):
            purse = await opened(plan.purse, store)
    except (StoreLost, TimeoutError) as error:
        raise StanchionError(
            "the store of the job's money gives no answer: start it, and run the same command again"
        ) from error
    finally:
        await store.aclose()
    return msgspec.structs.replace(plan, purse=purse)


def run_shard(plan: Plan, number: int) -> ShardEnd:
    """Do a share to its end.  Raises StanchionError, OSError."""
    logging.getLogger().addHandler(logging.NullHandler())
    _count_start(shard_folder(plan.wanted.folder, number, plan.shards))
    loaded = load(plan.config or None, flags=plan.flags)
    if settings_digest(loaded) != plan.settings:
        raise SettingsError(
            "the settings here are not those of the machine that began the job: put the settings file on a path "
            "that all machines share, name it with --config, and give all the same STANCHION_ variables"
        )
    parts = parts_of(plan.wanted, Models(loaded).facts)
    if settled_digest(parts) != plan.settled:
        raise SettingsError(
            "the template, the schema or the parameters here are not those of the machine that began the job: "
            "put their files on a path that all machines share"
        )
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        return asyncio.run(_run(plan, number, loaded, parts))
    return uvloop.run(_run(plan, number, loaded, parts))


def _count_start(folder: Path) -> None:
    with (folder / STARTS_FILE).open("ab") as file:
        file.write(b".")
        starts = file.tell()
    if starts > _STARTS_MOST:
        raise StanchionError(
            f"the worker of {folder.name} died {_STARTS_MOST} times: see whether it runs out of memory, in Ray's logs"
        )


async def _await_lock(lock: Path) -> None:
    """Wait until the worker is gone that had this share before.  Raises JournalBusy."""
    give_up_at = asyncio.get_running_loop().time() + _DYING_S
    while (holder := holder_of(lock)) is not None:
        if asyncio.get_running_loop().time() > give_up_at:
            raise JournalBusy(f"process {holder.pid} on {holder.host} writes to {lock.parent} now: stop it")
        await asyncio.sleep(_LOOK_S)


async def _run(plan: Plan, number: int, loaded: Loaded, parts: Parts) -> ShardEnd:
    wanted = plan.wanted
    folder = shard_folder(wanted.folder, number, plan.shards)
    await _await_lock(folder / "lock")
    async with Engine(loaded) as engine:
        cap = _cap(plan, loaded, engine)
        wish = LaneWish(wanted.lane, wanted.deadline_s or None, model_of(parts))
        spread = SpreadOptions(most=wanted.concurrency, attempts=wanted.attempts)
        lanes = lanes_of(engine, folder, wish, spread, cap)
        job = Job(
            SelectedSource(parts.source, Selection(shard=number, shards=plan.shards), parts.form),
            parts.form,
            parts.outputs,
            lanes,
            folder,
            cap=cap,
            check=parts.check,
            retry_failed=wanted.retry_failed,
            writes=False,
        )
        running = Run(job)
        progress = Progress(running.facts, engine, lanes=lanes)
        try:
            ended = await _ask(running, progress, wanted.folder / STOP_FILE, cap)
        finally:
            if cap is not None:
                await cap.aclose()
        _note(folder, progress)
    if cap is not None and cap.error is not None and (ended.stopped or ended.undone):
        raise cap.error
    return ShardEnd(number, ended.stopped, ended.undone)


async def _ask(running: Run, progress: Progress, stop_file: Path, cap: LeasedCap | None) -> Ended:
    """Run, look now and then whether to stop, and say how it stands.  Raises StanchionError, OSError."""
    try:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(running.run())
            beside = [group.create_task(_watch(running, asking, progress, stop_file))]
            if cap is not None:
                beside.append(group.create_task(cap.run()))
            await asyncio.wait([asking])  # as long as the run works; its calls are bounded
            for each in beside:
                each.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return Ended(running.facts, "interrupted") if asking.cancelled() else asking.result()


async def _watch(running: Run, asking: asyncio.Task[Ended], progress: Progress, stop_file: Path) -> None:
    while True:
        with contextlib.suppress(FileNotFoundError):
            how = await asyncio.to_thread(stop_file.read_text)
            running.stop("interrupted")
            if how == "now":
                asking.cancel()
        await asyncio.to_thread(_note, running.job.journal, progress)
        await asyncio.sleep(_LOOK_S)


def _note(folder: Path, progress: Progress) -> None:
    with contextlib.suppress(OSError):  # a full disk: the journal says so, and better
        write_whole(folder / PROGRESS_FILE, msgspec.json.encode(progress.snapshot()) + b"\n")


def _cap(plan: Plan, loaded: Loaded, engine: Engine) -> LeasedCap | None:
    if plan.purse is None:
        return None
    return LeasedCap(
        plan.purse,
        open_budgets(money_store(loaded), engine.clock),
        engine.clock,
        Models(loaded).facts,
        answer_tokens=plan.wanted.answer_tokens,
    )


def money_store(loaded: Loaded) -> str:
    """Return the address of the store in which workers share what may be spent."""
    stores = loaded.settings.stores
    return stores.limits if stores.budgets in ("", "memory") else stores.budgets
