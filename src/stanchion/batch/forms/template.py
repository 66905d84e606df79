"""Rows of data and a template: each row becomes the messages of one request, with the same parameters for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stanchion.batch.rows import BadRow, Request, Row
from stanchion.core.call import Operation
from stanchion.core.errors import SettingsError
from stanchion.rules.template import BadTemplate, Message, Template

_PLACES: Mapping[Operation, str] = {
    Operation.CHAT: "messages",
    Operation.RESPONSES: "input",
    Operation.EMBEDDINGS: "input",
    Operation.MODERATIONS: "input",
    Operation.COMPLETIONS: "prompt",
}
_WITH_MESSAGES = (Operation.CHAT, Operation.RESPONSES)
_OURS = ("messages", "input", "prompt", "stream", "model")  # what parameters may not set
_ID_MOST = 512  # characters of a name: more is content
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TemplateForm:
    """What a record asks: the template's messages of it, and the parameters."""

    def __init__(
        self,
        template: Template,
        *,
        model: str,
        system: Template | None = None,
        params: Mapping[str, Any] | None = None,
        operation: Operation = Operation.CHAT,
        id_field: str = "",
        instruction: str = "",
    ) -> None:
        """`instruction` is added to what the model is told first.  Raises SettingsError."""
        if operation not in _PLACES:
            raise SettingsError(f"a template cannot ask {operation.path!r}")
        self._check(params or {}, template, system, operation)
        self._template, self._system, self._instruction = template, system, instruction
        self._operation, self._place = operation, _PLACES[operation]
        self._fixed = {"model": model, **(params or {})}
        self._id_field = id_field
        self._columns = _Columns(_columns_of(template, system))
        texts = [each.text if each is not None else None for each in (template, system)]
        self.settled = _encode(["template", operation.path, texts, instruction, self._fixed])

    @staticmethod
    def _check(
        params: Mapping[str, Any], template: Template, system: Template | None, operation: Operation
    ) -> None:
        for name in _OURS:
            if name in params:
                why = (
                    "is set by the template"
                    if name != "stream"
                    else "makes no sense here: rows are answered whole"
                )
                why = "is chosen by --model" if name == "model" else why
                raise SettingsError(f"the parameters hold {name!r}, which {why}")
        if operation not in _WITH_MESSAGES and (template.has_messages or system is not None):
            raise SettingsError(f"{operation.path} takes one text and no messages")
        if system is not None and template.has_messages:
            raise SettingsError(
                f"{template.name} says itself who says what: put {system.name} into a "
                "{% message system %} of it"
            )

    def content(self, line: bytes) -> bytes:
        """Return the columns that the template reads.  Raises BadRow."""
        try:
            return self._columns.of(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unreadable(error) from None

    def request(self, row: Row) -> Request:
        """Return what a row asks.  Raises BadRow."""
        record = _read(row)
        name = self._name(record, row)
        try:
            said: Any = self._said(record)
        except BadTemplate as error:
            raise BadRow(str(error), number=row.number, custom_id=name, code="template_mismatch") from None
        body = _encode({**self._fixed, self._place: said})
        return Request(name, self._operation, body)

    def custom_id(self, row: Row) -> str:
        """Return what a row is called.  Raises BadRow."""
        return self._name(_read(row), row) if self._id_field else f"row-{row.number}"

    def _said(self, record: Mapping[str, Any]) -> str | list[Message]:
        if self._operation not in _WITH_MESSAGES:
            text = self._template.write(record)
            if not text:
                raise BadTemplate(f"{self._template.name}: it makes an empty text of this row")
            return text
        messages = self._template.messages(record)
        if self._system is not None:
            told = self._system.write(record)
            messages = [{"role": "system", "content": told}, *messages] if told else messages
        if self._instruction:
            messages = instructed(messages, self._instruction)
        return messages

    def _name(self, record: Mapping[str, Any], row: Row) -> str:
        if not self._id_field:
            return f"row-{row.number}"
        name = record.get(self._id_field)
        if name is None or isinstance(name, dict | list | bool) or name == "":
            raise BadRow(
                f"the row has no usable {self._id_field!r}, by which rows are named: it must be a text or a number",
                number=row.number,
                code="invalid_id",
            )
        return str(name)[:_ID_MOST]


class _Columns:
    """Cuts some columns out of a line without decoding what stands in them."""

    def __init__(self, names: Sequence[str] | None) -> None:
        self._names = names
        fields = [(f"c{number}", msgspec.Raw, msgspec.Raw()) for number in range(len(names or ()))]
        renamed = {f"c{number}": name for number, name in enumerate(names or ())}
        kind = msgspec.defstruct("Columns", fields, rename=renamed, gc=False)
        self._decode = msgspec.json.Decoder(kind).decode

    def of(self, line: bytes) -> bytes:
        """Return the columns as they stand there, with a byte between them that no JSON holds."""
        if self._names is None:
            return line.strip()
        return b"\0".join(msgspec.structs.astuple(self._decode(line)))


def instructed(messages: Sequence[Message], instruction: str) -> list[Message]:
    """Return the messages with something more told first: after what the system says, or as that."""
    first = messages[0]
    if first["role"] in ("system", "developer"):
        return [{**first, "content": f"{first['content']}\n\n{instruction}"}, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def _columns_of(*templates: Template | None) -> tuple[str, ...] | None:
    names = set[str]()
    for each in templates:
        if each is not None:
            if each.columns is None:
                return None
            names.update(each.columns)
    return tuple(sorted(names))


def _read(row: Row) -> dict[str, Any]:
    try:
        return _decode(row.line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(error, row.number) from None


def _unreadable(error: Exception, number: int = 0) -> BadRow:
    """Say why a line is no record, with the character where that is known."""
    words = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
    if isinstance(error, RecursionError):
        words = "it is nested too deeply"
    place = words.rpartition("(byte ")[2].rstrip(")")
    column = int(place) + 1 if place.isdecimal() else 0
    if isinstance(error, msgspec.ValidationError):
        words, column = "it is valid JSON but no object with columns", 0
    return BadRow(f"the row cannot be read: {words}", number=number, column=column, code="invalid_json")


def read_params(text: bytes, name: str) -> dict[str, Any]:
    """Return parameters written as a JSON object.  Raises SettingsError, which names where they stand."""
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}: not a JSON object of parameters: {error}") from None
