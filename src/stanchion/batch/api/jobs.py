"""The batches of callers: each a job of the runner, behind interactive calls, that survives a restart.

A folder holds `ID.json` for each batch, and while it runs `ID.stanchion`, the journal.  A process that ends leaves
the journal; the next one takes the job up where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from stanchion.batch.api.admission import Admission, Doorkeeper
from stanchion.batch.api.bench import FINISH_S, Bench, write_part
from stanchion.batch.api.check import Fault, check_file
from stanchion.batch.api.files import FileStore, StoredFile, write_whole
from stanchion.batch.api.state import BatchState, Status
from stanchion.batch.job import Ended, Job
from stanchion.batch.run import Run
from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall, LimitReached, StanchionError
from stanchion.engine.engine import Engine
from stanchion.engine.settings import BatchesOptions
from stanchion.observe.logs import log_event

log = logging.getLogger(__name__)
_KNOWN_MOST = 1000  # batches of one caller that are remembered
_SWEEP_S = 600.0  # seconds between two looks for what has expired
_OPERATIONS = {each.path: each for each in Operation}


class BatchJobs:
    """All batches of all callers."""

    def __init__(
        self, engine: Engine, door: Doorkeeper, folder: Path, files: FileStore, options: BatchesOptions
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._bench = Bench(engine, door, folder, files, options)
        self._files = files
        self._options = options
        self._states: dict[str, BatchState] = {}
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(options.jobs_most)
        self._closing = False

    async def begin(self) -> None:
        """Read what is there, and go on with what has not ended.  Raises OSError."""
        await asyncio.to_thread(self._read)
        for state in self._states.values():
            if not state.ended:
                self._start(state)
        self._engine.spawn(self._sweep())

    async def aclose(self) -> None:
        """Let calls in flight finish, shortly; what is left goes on at the next start."""
        self._closing = True
        for run in self._runs.values():
            run.stop()
        tasks = [task for task in self._tasks.values() if not task.done()]
        for name, task in self._tasks.items():
            if name not in self._runs:
                task.cancel()  # it waits for its turn
        if tasks:
            await asyncio.wait(tasks, timeout=FINISH_S + 1)

    def create(
        self, admitted: Admission, file: StoredFile, operation: Operation, metadata: dict[str, str] | None
    ) -> BatchState:
        """Begin a batch.  Raises LimitReached."""
        own = [state for state in self.of(admitted.owner) if not state.ended]
        if len(own) >= self._options.caller_jobs_most:
            raise LimitReached(
                f"you have {len(own)} batches that have not ended, the most there may be",
                code="too_many_batches",
            )
        if self._files.room(admitted.owner) <= 0:
            raise LimitReached("you keep as many bytes as there may be: delete files", code="files_full")
        self._forget_old(admitted.owner)
        now = time.time()
        state = BatchState(
            id=f"batch_{secrets.token_hex(12)}",
            owner=admitted.owner,
            key=admitted.key_name,
            operation=operation.path,
            input_file_id=file.id,
            metadata=metadata,
            created_at=int(now),
            expires_at=int(now + self._options.window_s),
            made_at=now,
        )
        self._save(state)
        self._states[state.id] = state
        self._start(state)
        return state

    def _forget_old(self, owner: str) -> None:
        """Keep what is known of a caller's batches bounded: the oldest that has ended goes; its files stay."""
        own = self.of(owner)
        old = [state for state in own if state.ended] if len(own) >= _KNOWN_MOST else []
        for state in old[-1:]:
            self._forget(state.id)

    def _forget(self, name: str) -> None:
        del self._states[name]
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def get(self, name: str, owner: str) -> BatchState:
        """Return a caller's batch, as it is now.  Raises InvalidCall (404)."""
        state = self._states.get(name)
        if state is None or state.owner != owner:
            raise InvalidCall("you have no such batch here", status=404, code="batch_not_found", param="id")
        self._count(state)
        return state

    def of(self, owner: str) -> Sequence[BatchState]:
        """Return a caller's batches, the newest first."""
        own = [state for state in self._states.values() if state.owner == owner]
        for state in own:
            self._count(state)
        return sorted(own, key=lambda state: (state.made_at, state.id), reverse=True)

    def cancel(self, name: str, owner: str) -> BatchState:
        """End a batch; what was answered is kept.  Raises InvalidCall."""
        state = self.get(name, owner)
        if state.ended:
            raise InvalidCall(f"a batch that is {state.status} cannot be cancelled", code="batch_ended")
        if state.status != "cancelling":
            state.enter("cancelling")
            self._save(state)
            run = self._runs.get(name)
            if run is not None:
                run.stop()
        return state

    def uses(self, file_id: str) -> bool:
        """Say whether a batch that has not ended reads a file."""
        return any(state.input_file_id == file_id for state in self._states.values() if not state.ended)

    # --- the life of one ------------------------------------------------------------------------------

    def _start(self, state: BatchState) -> None:
        self._tasks[state.id] = self._engine.spawn(self._live(state))

    async def _live(self, state: BatchState) -> None:
        try:
            async with self._turns:
                await self._run(state)
        except (StanchionError, OSError) as error:
            if not self._closing:
                await self._broke(
                    state, error.code if isinstance(error, StanchionError) else None, str(error)
                )
        except Exception:  # a task boundary
            log.exception("batches.job_failed")
            await self._broke(state, "internal_error", "the gateway failed; its log says why")
        finally:
            self._runs.pop(state.id, None)
            self._tasks.pop(state.id, None)

    async def _broke(self, state: BatchState, code: str | None, why: str) -> None:
        """End a batch that cannot go on; what was answered was paid for, and is kept."""
        code = code or "disk_failed"
        log_event(log, logging.WARNING, "batches.failed", batch=state.id, code=code)
        self._count(state)
        state.faults = [Fault(code, why)]
        job = self._bench.job(state)
        with contextlib.suppress(StanchionError, OSError):
            if job.journal.exists():
                await asyncio.to_thread(write_part, job)
                await asyncio.to_thread(self._bench.name_files, state, job.outputs)
        with contextlib.suppress(OSError):  # the disk may be what failed
            await self._end(state, "failed")

    async def _run(self, state: BatchState) -> None:
        path, operation = self._files.path(state.input_file_id), _OPERATIONS[state.operation]
        if state.status == "validating":
            state.total, state.faults = await asyncio.to_thread(
                check_file, path, operation, self._options.requests_most
            )
            if state.faults:
                state.total = 0
                await self._end(state, "failed")
                return
            if state.status == "validating":  # it was not cancelled meanwhile
                state.enter("in_progress")
                await asyncio.to_thread(self._save, state)
        job = self._bench.job(state)
        run = self._runs[state.id] = Run(job)
        late = asyncio.get_running_loop().call_later(max(0.0, state.expires_at - time.time()), run.stop)
        try:
            if state.status == "cancelling":
                ended = None
            else:
                ended = await run.run()
        finally:
            late.cancel()
        self._count(state)
        if ended is not None and ended.stopped and self._closing and state.status != "cancelling":
            return  # the next process goes on with it
        await self._finish(state, job, ended)

    async def _finish(self, state: BatchState, job: Job, ended: Ended | None) -> None:
        """Write and name the files.  Raises OSError, StanchionError."""
        if ended is None or ended.stopped:
            final: Status = "cancelled" if state.status == "cancelling" else "expired"
            await asyncio.to_thread(write_part, job)
        else:
            final = "completed"
        state.enter("finalizing" if final == "completed" else state.status)
        await asyncio.to_thread(self._bench.name_files, state, job.outputs)
        await self._end(state, final)

    async def _end(self, state: BatchState, final: Status) -> None:
        state.enter(final)
        await asyncio.to_thread(self._save, state)
        await asyncio.to_thread(shutil.rmtree, self._bench.journal(state), ignore_errors=True)
        log_event(
            log,
            logging.INFO,
            "batches.ended",
            batch=state.id,
            caller=state.owner,
            status=final,
            rows=state.total,
            failed=state.failed,
        )

    def _count(self, state: BatchState) -> None:
        """Take over how far a running batch is."""
        run = self._runs.get(state.id)
        if run is None or state.ended:
            return
        facts = run.facts
        state.failed = facts.failed + facts.bad
        state.completed = min(state.total, facts.before + facts.twins + facts.answered)
        state.prompt_tokens, state.completion_tokens = facts.prompt_tokens, facts.completion_tokens

    def _save(self, state: BatchState) -> None:
        write_whole(self._folder / f"{state.id}.json", msgspec.json.encode(state))

    def _read(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.glob("batch_*.json"):
            with contextlib.suppress(msgspec.MsgspecError):
                state = msgspec.json.decode(path.read_bytes(), type=BatchState)
                self._states[state.id] = state

    async def _sweep(self) -> None:
        """Remove what has expired, until cancelled."""
        while True:
            keep_s = self._options.keep_days * 86400.0
            old = [
                name
                for name, state in self._states.items()
                if state.ended and state.created_at + keep_s < time.time()
            ]
            for name in old:
                self._forget(name)
            self._files.sweep({state.input_file_id for state in self._states.values() if not state.ended})
            await asyncio.sleep(_SWEEP_S)
