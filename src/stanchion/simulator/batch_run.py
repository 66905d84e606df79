"""One batch: what becomes of it, by callbacks of the loop, from `validating` to its end.

A batch without faults: validating, in_progress, finalizing, completed.  Rows are done a few at a time, so that a
large batch does not stop the provider's other callers.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable

import msgspec

from stanchion.simulator.answer import Context
from stanchion.simulator.attempt import Endpoint
from stanchion.simulator.batch_check import LINE_CODES, Checked, Fault, Row, check
from stanchion.simulator.batch_object import ENDED, Batch, Status
from stanchion.simulator.batch_options import BatchFault, BatchOptions
from stanchion.simulator.errors import ApiError, status_error
from stanchion.simulator.faults import Fault as CallFault
from stanchion.simulator.log import CallRecord
from stanchion.simulator.spoil import refusal
from stanchion.simulator.state import State

_AT_ONCE = 50  # rows in one turn of the loop
_EXPIRED = "This request could not be executed before the completion window expired."


class BatchRun:
    """Moves one batch on.  `waiting` tells the prompt tokens of a model that wait in the owner's other batches."""

    def __init__(
        self,
        state: State,
        batch: Batch,
        endpoint: Endpoint,
        key: str | None,
        waiting: Callable[[Batch], int],
    ) -> None:
        self._state = state
        self._batch = batch
        self._endpoint = endpoint
        self._key = key
        self._waiting = waiting
        self._options: BatchOptions = state.options.batches
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._random = random.Random(f"{state.options.seed}/{len(batch.input_file.content)}")
        self._good: list[bytes] = []
        self._bad: list[bytes] = []
        self._later("step", self._options.validate_s, self._validate)
        self._later("window", self._options.window_s, self._expire)

    def stop(self) -> None:
        """Move it no further."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def cancel(self) -> None:
        """Let it end: what is done is kept.  Raises ApiError if it has ended."""
        batch = self._batch
        if batch.status not in ("validating", "in_progress", "cancelling"):
            raise ApiError(400, f"Cannot cancel a batch with status '{batch.status}'.")
        if batch.status == "cancelling":
            return
        batch.enter("cancelling")
        self._later("step", self._options.cancel_s, lambda: self._end("cancelled"))

    def _later(self, name: str, seconds: float, then: Callable[[], None]) -> None:
        if name in self._timers:
            self._timers[name].cancel()
        self._timers[name] = self._loop.call_later(seconds, then)

    def _validate(self) -> None:
        batch, options, fault = self._batch, self._options, self._batch.fault
        checked = check(batch.input_file.content, batch.endpoint, self._endpoint, options)
        batch.checked = checked
        most = options.enqueued_tokens_most
        told = _told(fault) if fault is not None and fault.name == "fail" else None
        if told is not None:
            checked.faults.insert(0, told)
        if not checked.faults and most is not None and self._waiting(batch) + checked.tokens > most:
            checked.faults.append(_too_much_waits(checked.model, self._state.options.organization, most))
        elif told is not None and told.code == "token_limit_exceeded":
            limit = most if most is not None else max(1, checked.tokens - 1)
            checked.faults[0] = _too_much_waits(checked.model, self._state.options.organization, limit)
        if checked.faults:
            batch.errors = checked.faults
            batch.checked = Checked(model=checked.model)
            batch.enter("failed")
            self.stop()
            return
        batch.enter("in_progress")
        self._later("step", 0.0, self._step)

    def _step(self) -> None:
        """Do a few rows, each when its time has come."""
        batch, fault = self._batch, self._batch.fault
        total = last = len(batch.checked.rows)
        if fault is not None and fault.name in ("expire", "cancelled"):
            last = int(total * fault.share)
        if fault is not None and fault.name == "stuck":
            return
        if batch.done < last:
            size = min(_AT_ONCE, max(1, total // 20), last - batch.done)
            self._later("step", self._options.work_s * size / total, lambda: self._some(size))
        elif fault is not None and fault.name == "cancelled":
            self.cancel()
        elif fault is None or fault.name != "expire":
            self._finalize()

    def _some(self, size: int) -> None:
        batch = self._batch
        for row in batch.checked.rows[batch.done : batch.done + size]:
            self._do(row)
        self._step()

    def _finalize(self) -> None:
        fault = self._batch.fault
        self._batch.enter("finalizing")
        slower = fault.seconds if fault is not None and fault.name == "slow_end" else 0.0
        self._later("step", self._options.finalize_s + slower, lambda: self._end("completed"))

    def _expire(self) -> None:
        """The window is over: what was not done is told so."""
        batch = self._batch
        if batch.status in ENDED:
            return
        for row in batch.checked.rows[batch.done :]:
            error = {"code": "batch_expired", "message": _EXPIRED}
            self._bad.append(_line(row.custom_id, None, error))
        self._end("expired")

    def _do(self, row: Row) -> None:
        """Answer one row; what it got goes to one of the two files."""
        batch, fault = self._batch, self._batch.fault
        record = self._record(batch)
        batch.done += 1
        drawn = self._random.random()
        error = self._error_of(row, drawn)
        if error is None:
            context = Context(serial=record.id, cache=self._state.cache)
            try:
                answer = self._endpoint.answer(row.asked, context)
                body = answer.whole()
            except ApiError as refused:
                error = refused
            else:
                record.status, record.completed = 200, True
                record.prompt_tokens, record.completion_tokens = (
                    answer.prompt_tokens,
                    answer.completion_tokens,
                )
                batch.input_tokens += answer.prompt_tokens
                batch.output_tokens += answer.completion_tokens
                batch.completed += 1
                if not (fault is not None and fault.name == "missing" and drawn < fault.share):
                    self._good.append(_line(row.custom_id, (200, record.request_id, body), None))
                return
        record.status = error.status
        batch.failed += 1
        self._bad.append(_line(row.custom_id, (error.status, record.request_id, error.body), None))

    def _error_of(self, row: Row, drawn: float) -> ApiError | None:
        fault = self._batch.fault
        if fault is not None and (
            fault.name == "no_output" or (fault.name == "rows" and drawn < fault.share)
        ):
            return status_error(fault.status)
        named = CallFault.of_model(row.asked.model)
        return refusal(named, row.asked.model, "") if named is not None else None

    def _record(self, batch: Batch) -> CallRecord:
        serial = self._state.calls.next_id()
        now = time.time()
        record = CallRecord(
            id=serial,
            request_id=f"req_{serial:032x}",
            at=now,
            method="POST",
            path=batch.endpoint,
            model=batch.checked.model,
            ended_at=now,
            key_fingerprint=self._key,
            batch=batch.id,
        )
        self._state.calls.add(record)
        return record

    def _end(self, status: Status) -> None:
        """Write the files there is something for, and end."""
        batch, fault = self._batch, self._batch.fault
        self.stop()
        good = self._good
        if fault is not None and fault.name == "shuffle":
            self._random.shuffle(good)
        if fault is not None and fault.name == "doubled":
            good = [*good, *good]
        batch.output_file_id = self._file("output", good)
        batch.error_file_id = self._file("error", self._bad)
        self._good, self._bad = [], []
        batch.enter(status)

    def _file(self, kind: str, lines: list[bytes]) -> str | None:
        if not lines:
            return None
        content = b"\n".join([*lines, b""])
        name = f"{self._batch.id}_{kind}.jsonl"
        kept = self._state.files.add(content, filename=name, purpose="batch_output", owner=self._batch.owner)
        return kept.id


def _told(fault: BatchFault) -> Fault:
    """The reason a plan gives; those of a line name the first."""
    line = 1 if fault.code in LINE_CODES else None
    return Fault(fault.code, "The batch failed validation.", line)


def _too_much_waits(model: str, organization: str, most: int) -> Fault:
    return Fault(
        "token_limit_exceeded",
        f"Enqueued token limit reached for {model} in organization {organization}. Limit: {most:,} enqueued "
        "tokens. Please try again once some in_progress batches have been completed.",
    )


def _line(custom_id: str, answered: tuple[int, str, bytes] | None, error: dict[str, str] | None) -> bytes:
    response = None
    if answered is not None:
        status, request_id, body = answered
        response = {"status_code": status, "request_id": request_id, "body": msgspec.Raw(body)}
    return msgspec.json.encode(
        {
            "id": f"batch_req_{secrets.token_hex(12)}",
            "custom_id": custom_id,
            "response": response,
            "error": error,
        }
    )
