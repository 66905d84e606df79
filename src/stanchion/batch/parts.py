"""The parts of a job, made of what it was told: where its rows come from, what they ask, where the answers go."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stanchion.batch.answer_check import AnswerCheck, schema_instruction, schema_params
from stanchion.batch.cap import Cap
from stanchion.batch.formats.format import OutputFormat
from stanchion.batch.formats.openai_lines import ErrorOutput, OpenAIOutput
from stanchion.batch.forms.bounded import BoundedForm
from stanchion.batch.forms.filled import FilledForm
from stanchion.batch.forms.openai_lines import OpenAILines
from stanchion.batch.job import Outputs
from stanchion.batch.rows import BadRow, Form, Request, Row, Source
from stanchion.batch.selection import SelectedSource, Selection
from stanchion.batch.sources.jsonl import JsonLines
from stanchion.batch.wanted import SPOOL, STDIN, Wanted
from stanchion.core.call import Operation
from stanchion.core.errors import InvalidCall, SettingsError
from stanchion.engine.model_facts import ModelFacts
from stanchion.rules.cost_bound import read_request

FactsOf = Callable[[str], ModelFacts]
_KINDS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}


class Parts(msgspec.Struct, frozen=True):
    """What a job is made of."""

    source: Source
    form: Form
    outputs: Outputs
    check: AnswerCheck | None
    cap: Cap | None


def parts_of(wanted: Wanted, facts: FactsOf) -> Parts:
    """Make the parts.  Raises SettingsError, CallerError, OSError: nothing was asked yet."""
    whole = source_of(wanted)
    form, check = form_of(wanted, facts)
    cap = None
    if wanted.max_cost_micro_usd is not None:
        cap = Cap(wanted.max_cost_micro_usd, facts, answer_tokens=wanted.answer_tokens)
        form = BoundedForm(form, wanted.answer_tokens, cap.cost_most)
    selection = Selection(limit=wanted.limit, sample=wanted.sample, shard=wanted.shard, shards=wanted.shards)
    source = whole if selection.is_all else SelectedSource(whole, selection, form)
    return Parts(source, form, outputs_of(wanted, source, whole), check, cap)


def source_of(wanted: Wanted) -> Source:
    """Open the input.  Raises SettingsError, OSError."""
    path, name = Path(wanted.source), wanted.source
    kind = wanted.input_format
    if wanted.source == STDIN:
        path, name = spooled(wanted.folder), "standard input"
    elif kind == "auto":
        kind = _KINDS.get(path.suffix.lower(), "jsonl")
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; name a file")
    if kind == "csv":
        from stanchion.batch.sources.csv import CsvSource  # noqa: PLC0415 - start-up time

        return CsvSource(path, name=_short(name))
    if kind == "parquet":
        from stanchion.batch.sources.parquet import ParquetSource  # noqa: PLC0415

        return ParquetSource(path, name=_short(name))
    with path.open("rb"):
        return JsonLines(path, _short(name))


def spooled(folder: Path) -> Path:
    """Copy standard input beside the journal, so that it can be read again; what was copied before serves a terminal."""
    file = folder / SPOOL
    if sys.stdin.isatty():
        if file.exists():
            return file
        raise SettingsError("nothing is piped in: `... | stanchion batch run - -o OUT`, or name a file")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = file.with_name(f".{SPOOL}.part")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        shutil.copyfileobj(sys.stdin.buffer, out)
    if beside.stat().st_size == 0 and file.exists():
        beside.unlink()  # `< /dev/null`: the job is to go on
    else:
        beside.replace(file)
    return file


def form_of(wanted: Wanted, facts: FactsOf) -> tuple[Form, AnswerCheck | None]:
    """Return what rows ask, and what checks the answers.  Raises SettingsError, CallerError, OSError."""
    operation = operation_of(wanted.operation)
    params = _params(wanted)
    check, asked, instruction = None, dict[str, Any](), ""
    if wanted.schema:
        from stanchion.rules.json_schema import JsonSchema  # noqa: PLC0415 - start-up time

        if operation not in (Operation.CHAT, Operation.RESPONSES):
            raise SettingsError(f"a schema is for chat completions and responses, not for {operation.path}")
        file = Path(wanted.schema)
        schema = JsonSchema(file.read_bytes(), name=file.stem)
        check = AnswerCheck(schema, repairs=wanted.repairs)
        mode = _mode(wanted, facts)
        asked.update(schema_params(schema, operation, mode))
        instruction = schema_instruction(schema, mode)
    if not wanted.template:
        return _lines(wanted, operation, {**asked, **params}), check
    return _template_form(wanted, operation, {**asked, **params}, instruction), check


def _template_form(wanted: Wanted, operation: Operation, params: Mapping[str, Any], instruction: str) -> Form:
    from stanchion.batch.forms.template import TemplateForm  # noqa: PLC0415 - start-up time
    from stanchion.rules.template import Template  # noqa: PLC0415

    if not wanted.model:
        raise SettingsError("a template needs a model: --model gpt-4o-mini, or a route of the settings")

    def read(path: str) -> Template:
        try:
            return Template(Path(path).read_text(encoding="utf-8"), name=_short(path))
        except UnicodeDecodeError:
            raise SettingsError(f"{path}: a template is UTF-8 text") from None

    return TemplateForm(
        read(wanted.template),
        model=wanted.model,
        system=read(wanted.system) if wanted.system else None,
        params=params,
        operation=operation,
        id_field=wanted.id_field,
        instruction=instruction,
    )


def _lines(wanted: Wanted, operation: Operation, params: Mapping[str, Any]) -> Form:
    for name, given in (("--system", wanted.system), ("--id-field", wanted.id_field)):
        if given:
            raise SettingsError(f"{name} goes with --template; without one each line is a request already")
    if wanted.input_format in ("csv", "parquet") or Path(wanted.source).suffix.lower() in _KINDS:
        raise SettingsError("a table's rows are no requests: say with --template what to ask of them")
    fields = {**({"model": wanted.model} if wanted.model else {}), **params}
    form = OpenAILines(operation)
    return FilledForm(form, fields) if fields else form


def _params(wanted: Wanted) -> dict[str, Any]:
    if not wanted.params:
        return {}
    try:
        return msgspec.json.decode(wanted.params, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise SettingsError(f"--params: not a JSON object, as '{{\"temperature\": 0}}': {error}") from None


def _mode(wanted: Wanted, facts: FactsOf) -> Any:
    if wanted.schema_mode != "auto":
        return wanted.schema_mode
    return "send" if not wanted.model or facts(wanted.model).takes_schemas else "tell"


def operation_of(path: str) -> Operation:
    """Return the operation with this path below /v1.  Raises SettingsError."""
    for each in Operation:
        if each.path == path and each is not Operation.MODELS:
            return each
    raise SettingsError(f"there is no operation {path!r}")


def outputs_of(wanted: Wanted, source: Source, whole: Source) -> Outputs:
    """Return where answers go, and in which form.  Raises SettingsError."""
    output = Path(wanted.output)
    if wanted.source != STDIN and output.resolve() == Path(wanted.source).resolve():
        raise SettingsError("the output is the input: choose another name for it")
    if not output.parent.is_dir():
        raise SettingsError(f"{output.parent}: there is no such folder for the output")
    return Outputs(output, format_of(wanted, source, whole), wanted.errors_path, ErrorOutput(), wanted.order)


def format_of(wanted: Wanted, source: Source, whole: Source) -> OutputFormat:
    """Return the form of the output.  Raises SettingsError."""
    kind = _KINDS.get(Path(wanted.output).suffix.lower(), "jsonl")
    form = wanted.format
    if form == "auto":
        form = "rows" if wanted.template or kind != "jsonl" else "openai"
    if form == "openai":
        if kind != "jsonl":
            raise SettingsError(
                f"OpenAI's output lines are JSONL: name the output .jsonl, not {Path(wanted.output).suffix}"
            )
        return OpenAIOutput()
    from stanchion.batch.formats.records import Records  # noqa: PLC0415 - start-up time
    from stanchion.batch.formats.tables import CsvTable, JsonlTable, ParquetTable  # noqa: PLC0415

    records = Records(column=wanted.answer_column, parsed=bool(wanted.schema))
    hidden = set(records.added) & set(getattr(whole, "columns", ()))
    if hidden:
        raise SettingsError(
            f"the input has a column {min(hidden)!r} already: name the new ones otherwise, as --answer-column reply"
        )
    if kind == "csv":
        return CsvTable(records, source if not hasattr(whole, "columns") else whole)
    return ParquetTable(records, source) if kind == "parquet" else JsonlTable(records)


def first_fault(parts: Parts) -> BadRow | None:
    """Return what is wrong with the first row that is one: it may be wrong with all rows."""
    first = _first(parts)
    return first if isinstance(first, BadRow) else None


def model_of(parts: Parts) -> str:
    """Return which model the first row asks; "" if that cannot be said."""
    first = _first(parts)
    return read_request(first.operation, first.body).model if isinstance(first, Request) else ""


def _first(parts: Parts) -> Request | BadRow | None:
    for page in parts.source.pages():
        for number, line in enumerate(page.lines, page.first):
            if number in page.bad or not line:
                continue
            try:
                asked = parts.form.request(Row(number, line))
                read_request(asked.operation, asked.body)
            except BadRow as error:
                error.number = number
                return error
            except InvalidCall as error:
                return BadRow(str(error), number=number, code=error.code)
            return asked
    return None


def _short(path: str) -> str:
    """Return a path as messages have it: from here, where it is below here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
