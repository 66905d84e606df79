"""What is checked of an input file before any of it is asked, with the codes that OpenAI uses.

A file with one bad line fails as a whole, as there.  Other than there, rows may ask different models.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from stanchion.core.call import Operation

_ERRORS_MOST = 100


class Fault(msgspec.Struct, frozen=True):
    """Why a batch cannot begin; `line` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class _Body(msgspec.Struct):
    model: str
    stream: bool | None = None


class _Line(msgspec.Struct):
    custom_id: str
    url: str
    body: _Body
    method: str = "POST"


_read = msgspec.json.Decoder(_Line).decode


def check_file(path: Path, operation: Operation, rows_most: int) -> tuple[int, list[Fault]]:
    """Return the number of rows, and what is wrong.  Call it in a thread."""
    url, seen, rows, faults = f"/v1/{operation.path}", set[str](), 0, list[Fault]()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            rows += 1
            if rows > rows_most:
                return rows, [Fault("too_many_tasks", f"the file has more than {rows_most} requests")]
            fault = _fault_of(line, number, url, seen)
            if fault is not None and len(faults) < _ERRORS_MOST:
                faults.append(fault)
    if not rows:
        faults.append(Fault("empty_file", "the file has no request", param="input_file_id"))
    return rows, faults


def _fault_of(line: bytes, number: int, url: str, seen: set[str]) -> Fault | None:
    try:
        read = _read(line)
    except msgspec.ValidationError as error:
        return Fault("invalid_request", f"this line is no request: {error}", number)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Fault("invalid_json_line", "this line is no JSON", number)
    if read.method != "POST":
        return Fault("invalid_method", "the method must be POST", number, "method")
    if read.url != url:
        return Fault("mismatched_url", f"the batch is for {url}", number, "url")
    if read.body.stream:
        return Fault("invalid_request", "a batch streams nothing", number, "body.stream")
    if read.custom_id in seen:
        return Fault("duplicate_custom_id", "an earlier line has this custom_id", number, "custom_id")
    seen.add(read.custom_id)
    return None
