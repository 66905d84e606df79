"""Records with a template: what is asked, what decides it, and what a row is called."""

from __future__ import annotations

import msgspec
import pytest

from stanchion.batch.forms.template import TemplateForm, read_params
from stanchion.batch.rows import BadRow, Row
from stanchion.core.call import Operation
from stanchion.core.errors import SettingsError
from stanchion.rules.template import Template

LINE = b'{"id": 7, "text": "Hi", "lang": "en", "other": [1, {"text": "no"}]}'


def form(text: str = "{{ text }}", **options: object) -> TemplateForm:
    return TemplateForm(Template(text, name="t.j2"), **{"model": "m", **options})  # pyright: ignore[reportArgumentType]


def asked(made: TemplateForm, line: bytes = LINE) -> dict[str, object]:
    return msgspec.json.decode(made.request(Row(3, line)).body)


def test_a_record_becomes_a_request() -> None:
    made = form(system=Template("Speak {{ lang }}."), params={"temperature": 0})
    assert asked(made) == {
        "model": "m",
        "temperature": 0,
        "messages": [{"role": "system", "content": "Speak en."}, {"role": "user", "content": "Hi"}],
    }
    assert made.request(Row(3, LINE)).operation is Operation.CHAT


@pytest.mark.parametrize(
    ("operation", "place"),
    [(Operation.EMBEDDINGS, "input"), (Operation.MODERATIONS, "input"), (Operation.COMPLETIONS, "prompt")],
)
def test_where_no_messages_are_taken_the_text_is_the_question(operation: Operation, place: str) -> None:
    assert asked(form(operation=operation)) == {"model": "m", place: "Hi"}


def test_an_instruction_joins_what_is_told_first() -> None:
    told = asked(form(instruction="Only JSON."))
    assert told["messages"] == [
        {"role": "system", "content": "Only JSON."},
        {"role": "user", "content": "Hi"},
    ]
    told = asked(form("{% message system %}S{% endmessage %}", instruction="Only JSON."))
    assert told["messages"] == [{"role": "system", "content": "S\n\nOnly JSON."}]


def test_only_the_columns_that_the_template_reads_decide_its_answer() -> None:
    made = form("{{ text }} {{ lang }}")
    same = b'{"lang":"en","text":"Hi","id":"another"}'
    assert made.content(LINE) == made.content(same)
    for other in (
        b'{"lang":"en","text":"Hi!"}',
        b'{"lang":"enHi","text":""}',
        b'{"text":"Hi"}',
        b'{"text":"Hi","lang":null}',
    ):
        assert made.content(other) != made.content(LINE)
    assert form("{{ row.text }}").content(LINE) == LINE, "who takes the whole row depends on the whole row"


def test_whatever_decides_all_answers_is_settled() -> None:
    settled = [
        form().settled,
        form("{{ text }}!").settled,
        form(model="n").settled,
        form(params={"seed": 1}).settled,
        form(system=Template("S")).settled,
        form(instruction="S").settled,
        form(operation=Operation.COMPLETIONS).settled,
    ]
    assert len(set(settled)) == len(settled)
    assert form(id_field="id").settled == form().settled


@pytest.mark.parametrize(("field", "name"), [("", "row-3"), ("id", "7"), ("lang", "en")])
def test_a_row_is_called_by_its_field_or_by_its_number(field: str, name: str) -> None:
    made = form(id_field=field)
    assert made.custom_id(Row(3, LINE)) == made.request(Row(3, LINE)).custom_id == name


@pytest.mark.parametrize("field", ["gone", "other"])
def test_a_row_without_a_usable_name_is_bad(field: str) -> None:
    with pytest.raises(BadRow, match=f"no usable '{field}'") as caught:
        form(id_field=field).request(Row(3, LINE))
    assert caught.value.number == 3


@pytest.mark.parametrize(
    ("line", "told", "code"),
    [
        (b'{"text": ', "truncated", "invalid_json"),
        (b"[1]", "no object with columns", "invalid_json"),
        (b'{"text": "\xff"}', "not UTF-8", "invalid_json"),
        (b'{"id": 9}', "t.j2:1:4: the row has no column 'text'; it has 'id'", "template_mismatch"),
        (b'{"text": ""}', "t.j2: it makes an empty message", "template_mismatch"),
    ],
)
def test_a_row_that_cannot_be_asked_says_why(line: bytes, told: str, code: str) -> None:
    with pytest.raises(BadRow, match=told) as caught:
        form().request(Row(3, line))
    assert (caught.value.number, caught.value.code) == (3, code)


def test_where_a_line_breaks_off_is_told_by_its_column() -> None:
    with pytest.raises(BadRow) as caught:
        form().content(b'{"text": nil}')
    assert caught.value.column == 11


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"params": {"stream": True}}, "'stream', which makes no sense"),
        ({"params": {"messages": []}}, "'messages', which is set by the template"),
        ({"params": {"model": "x"}}, "'model', which is chosen by --model"),
        ({"operation": Operation.EMBEDDINGS, "system": Template("S")}, "takes one text"),
        ({"operation": Operation.MODELS}, "cannot ask 'models'"),
        (
            {"text": "{% message user %}a{% endmessage %}", "system": Template("S", name="s.j2")},
            "put s.j2 into",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        form(**options)  # pyright: ignore[reportArgumentType]


def test_parameters_are_an_object() -> None:
    assert read_params(b'{"temperature": 0}', "--params") == {"temperature": 0}
    for wrong in (b"[]", b"{", b"\xff"):
        with pytest.raises(SettingsError, match="--params: not a JSON object"):
            read_params(wrong, "--params")
