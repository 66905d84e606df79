"""A text with places for a row's columns, and the messages that it makes of a row.

Jinja2, in its sandbox: a template reads the row and nothing else.  It is compiled once.  What is written outside of
any `{% message %}` is the user's message:

    Classify this ticket: {{ text }}

or it says who says what, as often as it likes:

    {% message "system" %}You sort tickets.{% endmessage %}
    {% for turn in turns %}{% message turn.role %}{{ turn.text }}{% endmessage %}{% endfor %}

Five things differ from Jinja2's habits, because here rows of data become prompts:
- a column that is missing is an error that names it, with line and column of the template;
- `order.items` is the column `items` of `order`, not a method of Python's;
- null prints as nothing, and true, a list or an object as JSON;
- `tojson` writes JSON as it is, not as HTML wants it;
- nothing is drawn by lot: a row says the same each time.

Weakness: Jinja2 knows lines and no columns.  The column is where the name first stands in its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
from jinja2 import StrictUndefined, Undefined, meta, nodes
from jinja2 import Template as Compiled
from jinja2.exceptions import TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from stanchion.core.errors import CallerError

Message = dict[str, str]
ROLES = ("system", "developer", "user", "assistant")
_SAID = "messages of this rendering"  # not a name that a template can write
_SHOWN = 8  # names of columns that an error lists
_FAILS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
_encode = msgspec.json.Encoder().encode


class BadTemplate(CallerError):
    """A template cannot be read, or makes nothing of a row.  `line` and `column` are the template's; 0: unknown."""

    code = "bad_template"
    line: int = 0
    column: int = 0


class Template:
    """One text with places.  `name` is what errors call it: its file."""

    def __init__(self, text: str, *, name: str = "template") -> None:
        """Compile.  Raises BadTemplate."""
        self.name = name
        self.text = text
        self._lines = text.splitlines()
        try:
            tree = _jinja.parse(text, name, name)
            self.has_messages = any(_is_message(each) for each in tree.find_all(nodes.CallBlock))
            for kind in (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
                if (other := tree.find(kind)) is not None:
                    raise self._fault("a template is one file: it can include no other", other.lineno)
            named = meta.find_undeclared_variables(tree)
            code = _jinja.compile(tree, name, name)
        except TemplateSyntaxError as error:
            raise self._fault(f"{error.message}", error.lineno) from None
        except RecursionError:
            raise self._fault("it is nested too deeply", 0) from None
        #: The columns that it reads, and no others; None: it may read any, since it takes the whole row.
        self.columns = None if "row" in named else tuple(sorted(named))
        self._made = Compiled.from_code(_jinja, code, _jinja.globals)

    def messages(self, row: Mapping[str, Any]) -> list[Message]:
        """Return the messages for a row.  Raises BadTemplate."""
        said: list[Message] = []
        text = self._render(row, said)
        if not self.has_messages:
            if not text:
                raise self._fault("it makes an empty message of this row", 0)
            return [{"role": "user", "content": text}]
        if text:
            raise self._fault("it has text outside of its messages: put it between {% message %} tags", 0)
        if not said:
            raise self._fault("it makes no message of this row", 0)
        return said

    def write(self, row: Mapping[str, Any]) -> str:
        """Return the text for a row.  Raises BadTemplate."""
        if self.has_messages:
            raise self._fault("it has messages where one text is wanted: take the {% message %} tags out", 0)
        return self._render(row, [])

    def _render(self, row: Mapping[str, Any], said: list[Message]) -> str:
        try:
            return self._made.render({"row": row, **row, _SAID: said}).strip()
        except _FAILS as error:
            line = _line_of(error, self.name)
            if isinstance(error, UndefinedError):
                raise self._missing(error.message or "", line, row) from None
            # a ValueError's words may repeat what stands in the row
            tells = isinstance(error, TemplateError | TypeError)
            why = str(error) if tells else f"it fails with {type(error).__name__}"
            raise self._fault(why, line) from None

    def _missing(self, name: str, line: int, row: Mapping[str, Any]) -> BadTemplate:
        inner, name = name.startswith("."), name.removeprefix(".")
        column = self._column_of(name, line)
        if inner:
            # a name that does not stand in the template was read from the row
            told = f"{name!r} of a value of the row" if column else "a part of a value of the row"
            return self._fault(f"{told} is not there", line, column)
        there = ", ".join(map(repr, list(row)[:_SHOWN])) + (", ..." if len(row) > _SHOWN else "")
        return self._fault(f"the row has no column {name!r}; it has {there or 'none'}", line, column)

    def _column_of(self, name: str, line: int) -> int:
        if not 0 < line <= len(self._lines):
            return 0
        found = re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", self._lines[line - 1])
        return found.start() + 1 if found else 0

    def _fault(self, why: str, line: int, column: int = 0) -> BadTemplate:
        place = "".join(f":{each}" for each in (line, column) if each)
        return BadTemplate(f"{self.name}{place}: {why}", line=line, column=column)

    def __repr__(self) -> str:
        return f"<Template {self.name!r}>"


class _Absent(StrictUndefined):
    """What is not there.  Its error's message is its name, with a dot before it where it is none of the columns."""

    __slots__ = ()
    __hash__ = Undefined.__hash__

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        return f"{'' if self._undefined_obj is missing else '.'}{self._undefined_name}"


class _Messages(Extension):
    """`{% message ROLE %}...{% endmessage %}`."""

    tags = {"message"}  # noqa: RUF012 - Jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        """Make the tag a call with its body, as Jinja2 has it for such tags."""
        line = next(parser.stream).lineno
        if parser.stream.current.type == "block_end":
            parser.fail('a message needs a role, as {% message "system" %}', line)
        role = parser.parse_expression()
        if isinstance(role, nodes.Const) and role.value not in ROLES:
            parser.fail(f"a message's role is one of {', '.join(ROLES)}, not {role.value!r}", line)
        if isinstance(role, nodes.Name) and role.name in ROLES:
            role = nodes.Const(role.name)  # the quotes may be left out
        body = parser.parse_statements(("name:endmessage",), drop_needle=True)
        call = self.call_method("say", [nodes.ContextReference(), role])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def say(self, context: Context, role: Any, caller: Callable[[], str]) -> str:
        """Add a message to those of this rendering; nothing of it is printed."""
        if not isinstance(role, str):
            raise TypeError(f"a message's role is one of {', '.join(ROLES)}, not {_kind(role)}")
        if role not in ROLES:
            raise TypeError(f"a message's role is one of {', '.join(ROLES)}, and the row has another")
        said = cast("list[Message]", context[_SAID])
        content = caller().strip()
        if content:  # a message that a condition left empty is none
            said.append({"role": role, "content": content})
        return ""


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, in which a name after a dot is a column first."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return cast("dict[str, Any]", obj)[attribute]
        return super().getattr(obj, attribute)


def _is_message(block: nodes.CallBlock) -> bool:
    called = block.call.node
    return isinstance(called, nodes.ExtensionAttribute) and called.name == "say"


def _line_of(error: BaseException, name: str) -> int:
    """Return the template's line in which an error arose; 0 if it is unknown."""
    line, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == name:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names: dict[type[Any], str] = {bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return next((said for kind, said in names.items() if isinstance(value, kind)), "a number")


def _shown(value: Any) -> Any:
    """Return what a value prints as."""
    if isinstance(value, str | Undefined):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return _json(value)
    if callable(value):
        raise TypeError("a function is printed where a column was meant")
    return value


def _json(value: Any, indent: int | None = None) -> str:
    raw = _encode(value)
    return (raw if indent is None else msgspec.json.format(raw, indent=indent)).decode()


def _environment() -> _Environment:
    made = _Environment(
        undefined=_Absent,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=(_Messages, "jinja2.ext.loopcontrols"),
    )
    made.filters["tojson"] = _json
    del made.filters["random"], made.globals["lipsum"]
    return made


_jinja = _environment()
