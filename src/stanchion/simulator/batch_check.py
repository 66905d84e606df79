"""What the Batch API checks of an input file before it begins, with its codes.

A file with one bad line fails as a whole: nothing of it is done.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stanchion.simulator.attempt import Asked, Endpoint
from stanchion.simulator.batch_options import BatchOptions
from stanchion.simulator.errors import ApiError
from stanchion.simulator.quota import admission_charge

LINE_CODES = frozenset(
    [
        "missing_required_parameter",
        "invalid_json_line",
        "invalid_method",
        "mismatched_url",
        "duplicate_custom_id",
        "invalid_request",
        "mismatched_model",
    ]
)
_MOST_ERRORS = 100  # that are listed


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


_LINE = msgspec.json.Decoder(_Line)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One request of a batch."""

    custom_id: str
    asked: Any
    tokens: int  # of the prompt, as they count against what may be enqueued


class Fault(msgspec.Struct, frozen=True):
    """Why a batch cannot begin; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def shown(self) -> dict[str, object]:
        """The error as a batch shows it."""
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line}


class Checked(msgspec.Struct):
    """A file that was read: its rows, or why it cannot be done."""

    rows: list[Row] = []
    faults: list[Fault] = []
    model: str = ""

    @property
    def tokens(self) -> int:
        """Prompt tokens of all rows."""
        return sum(row.tokens for row in self.rows)


def check(content: bytes, url: str, endpoint: Endpoint, options: BatchOptions) -> Checked:
    """Read an input file."""
    if len(content) > options.file_most_bytes:
        return Checked(
            faults=[
                Fault(
                    "file_too_large",
                    f"The input file is larger than {options.file_most_bytes} bytes.",
                    param="input_file_id",
                )
            ]
        )
    lines = content.splitlines()
    if not any(line.strip() for line in lines):
        return Checked(
            faults=[
                Fault(
                    "empty_file",
                    "The input file is empty. Please ensure that the batch contains at least one request.",
                    param="input_file_id",
                )
            ]
        )
    if len(lines) > options.requests_most:
        return Checked(
            faults=[
                Fault(
                    "too_many_tasks",
                    f"The batch job exceeds the maximum of {options.requests_most} requests. Please try again "
                    "with a smaller batch.",
                )
            ]
        )
    checked = Checked()
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        fault = _take(line, number, url, endpoint, seen, checked)
        if fault is not None and len(checked.faults) < _MOST_ERRORS:
            checked.faults.append(fault)
    return checked


def _take(
    line: bytes, number: int, url: str, endpoint: Endpoint, seen: set[str], checked: Checked
) -> Fault | None:
    """Read one line into a row, or say what is wrong with it."""
    try:
        read = _LINE.decode(line)
    except msgspec.ValidationError as error:
        return Fault("missing_required_parameter", f"This line cannot be used: {error}.", number)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Fault("invalid_json_line", "This line is not parseable as valid JSON.", number)
    if read.method != "POST":
        return Fault("invalid_method", "The method must be POST.", number, "method")
    if read.url != url:
        return Fault(
            "mismatched_url",
            f"The URL provided for this request does not match the batch endpoint {url}.",
            number,
            "url",
        )
    if read.custom_id in seen:
        return Fault(
            "duplicate_custom_id",
            f"The custom_id {read.custom_id!r} of this line stands on an earlier line too. Please use unique ids.",
            number,
            "custom_id",
        )
    seen.add(read.custom_id)
    try:
        asked = endpoint.decode(bytes(read.body))
        tokens = _tokens(endpoint, asked)
    except (msgspec.MsgspecError, UnicodeDecodeError, ApiError) as error:
        return Fault("invalid_request", f"The body of this line cannot be used: {error}.", number, "body")
    if getattr(asked, "stream", False):
        return Fault("invalid_request", "Streaming is not supported in a batch.", number, "body.stream")
    if checked.model and asked.model != checked.model:
        return Fault(
            "mismatched_model",
            f"The model {asked.model!r} of this line is not the batch's: every request must use {checked.model!r}.",
            number,
            "body.model",
        )
    checked.model = checked.model or asked.model
    checked.rows.append(Row(read.custom_id, asked, tokens))
    return None


def _tokens(endpoint: Endpoint, asked: Asked) -> int:
    charge = endpoint.charge(asked)
    return admission_charge(charge.chars, charge.messages, charge.n, charge.images)
