"""OpenAI's output lines: the answers in the one file, what failed in the other, each by its `custom_id`."""

from __future__ import annotations

from typing import IO

import msgspec

from stanchion.batch.answers import Answer
from stanchion.batch.formats.advice import advice_for
from stanchion.batch.rows import Row

_encode = msgspec.json.Encoder().encode


class OpenAIOutput:
    """The output file of a batch: a line for each answer."""

    def open(self, file: IO[bytes]) -> _Answers:
        """Begin to write."""
        return _Answers(file)


class _Answers:
    def __init__(self, file: IO[bytes]) -> None:
        self._write = file.write

    def add(self, row: Row, custom_id: str, key: bytes, answer: Answer) -> None:
        """Write an answer; what failed stands in the file of errors."""
        del row
        if answer.answered:
            self._write(
                b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":null}\n'
                % (key.hex().encode(), _encode(custom_id), _response(answer))
            )

    def close(self) -> None:
        """Nothing is left."""


class ErrorOutput:
    """The file of errors: a line for each row that failed, with where it stands and what to do."""

    def open(self, file: IO[bytes]) -> _Errors:
        """Begin to write."""
        return _Errors(file)


class _Errors:
    def __init__(self, file: IO[bytes]) -> None:
        self._write = file.write

    def add(self, row: Row, custom_id: str, key: bytes, answer: Answer) -> None:
        """Write a failure; answers stand in the output."""
        problem = answer.problem
        if problem is None:
            return
        told = {
            "code": problem.code or None,
            "message": problem.message,
            "param": problem.param or None,
            "type": problem.type or None,
        }
        self._write(
            b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":%b,"row":%d,"attempts":%d,"advice":%b}\n'
            % (
                key.hex().encode(),
                _encode(custom_id),
                _response(answer) if answer.status else b"null",
                _encode(told),
                row.number,
                answer.attempts,
                _encode(advice_for(answer.status, problem)),
            )
        )

    def close(self) -> None:
        """Nothing is left."""


def _response(answer: Answer) -> bytes:
    """Return OpenAI's `response`; a body that is no JSON, of a proxy perhaps, is written as a text."""
    try:
        # the decoder checks it: one broken body must not break the line.  New lines end the record.
        read = msgspec.json.decode(answer.body, type=msgspec.Raw) if answer.body else b"null"
        body = bytes(read) if b"\n" not in bytes(read) else _encode(msgspec.json.decode(read))
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = _encode(answer.body.decode(errors="replace"))
    return b'{"status_code":%d,"request_id":%b,"body":%b}' % (answer.status, _encode(answer.request_id), body)
