"""Rows become messages; whatever is wrong is named with its place, and nothing of a row is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.template import ROLES, BadTemplate, Template

ROW = {
    "text": "hello",
    "n": 3,
    "none": None,
    "yes": True,
    "tags": ["a", "é<"],
    "order": {"items": [1], "id": 7},
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Say {{ text }}", "Say hello"),
        ("\n  Say {{ text }}\n\n", "Say hello"),
        ("{{ n }}{{ none }}|{{ yes }}", "3|true"),
        ("{{ tags }}", '["a","é<"]'),
        ("{{ tags|tojson }}", '["a","é<"]'),
        ("{{ {'a': 1}|tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{{ order.items }}{{ order['id'] }}", "[1]7"),
        ("{{ row['text'] }}{{ row.n }}", "hello3"),
        ("{{ gone|default('-') }}{% if gone is defined %}!{% endif %}", "-"),
        ("{% for tag in tags %}{% if loop.last %}{% break %}{% endif %}{{ tag }}{% endfor %}", "a"),
        ("{% for tag in tags %}\n  - {{ tag }}\n{% endfor %}", "- a\n  - é<"),
    ],
)
def test_text_outside_of_messages_is_the_users(text: str, said: str) -> None:
    assert Template(text).messages(ROW) == [{"role": "user", "content": said}]


def test_messages_say_who_says_what() -> None:
    template = Template(
        "{% message system %}You sort.{% endmessage %}\n"
        "{% for each in turns %}{% message each.role %}{{ each.text }}{% endmessage %}{% endfor %}\n"
        '{% message "user" %}{% if more is defined %}And?{% endif %}{% endmessage %}'
    )
    turns = [{"role": "user", "text": "Hi"}, {"role": "assistant", "text": " Yes? "}]
    assert template.has_messages
    assert template.messages({"turns": turns}) == [
        {"role": "system", "content": "You sort."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
    ], "a message that is empty is left out"


@pytest.mark.parametrize(
    ("text", "line", "column", "told"),
    [
        ("a\nb {{ txet }}", 2, 6, "the row has no column 'txet'; it has 'text', 'n'"),
        ("a\n{{ order.itmes }}", 2, 10, "'itmes' of a value of the row is not there"),
        ("{{ order[text] }}", 1, 0, "a part of a value of the row is not there"),
        ("{{ text + 1 }}", 1, 0, "concatenate"),
        ("\n{{ n / 0 }}", 2, 0, "fails with ZeroDivisionError"),
        ("{{ text.__class__ }}", 1, 0, "unsafe"),
        ("{{ tags.append(1) }}", 1, 0, "unsafe"),
        ("{{ order.keys }}", 1, 0, "a function is printed"),
        ("{% for i in range(10**9) %}.{% endfor %}", 1, 0, "fails with OverflowError"),
        ("{% message order.id %}a{% endmessage %}", 1, 0, "not a number"),
        ("{% message text %}a{% endmessage %}", 1, 0, "the row has another"),
        ("{{ none }}", 0, 0, "an empty message"),
        ("a {% message user %}b{% endmessage %}", 0, 0, "outside of its messages"),
        ("{% if n > 5 %}{% message user %}b{% endmessage %}{% endif %}", 0, 0, "no message of this row"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_the_templates_place(
    text: str, line: int, column: int, told: str
) -> None:
    with pytest.raises(BadTemplate, match=told) as caught:
        Template(text, name="p.j2").messages(ROW)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"p.j2:{line}:" if line else "p.j2: ")
    assert "hello" not in str(caught.value), "what stands in a row is nobody's business"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a\n{{ text", 2, "end of"),
        ("{{ text|shout }}", 1, "shout"),
        ("{{ tags|random }}", 1, "random"),
        ("{% message %}a{% endmessage %}", 1, "needs a role"),
        ("\n{% message 'robot' %}a{% endmessage %}", 2, "not 'robot'"),
        ("{% message user %}a", 1, "endmessage"),
        ("a\n{% include 'other.j2' %}", 2, "include no other"),
        ("{% extends 'other.j2' %}", 1, "include no other"),
    ],
)
def test_a_template_that_cannot_be_read_is_told_at_once(text: str, line: int, told: str) -> None:
    with pytest.raises(BadTemplate, match=told) as caught:
        Template(text, name="p.j2")
    assert caught.value.line == line


def test_one_text_is_written_where_no_message_is_wanted() -> None:
    assert Template(" be kind to {{ text }} ").write(ROW) == "be kind to hello"
    with pytest.raises(BadTemplate, match="one text is wanted"):
        Template("{% message user %}a{% endmessage %}").write(ROW)


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.text(min_size=1).filter(str.strip))))
def test_nothing_in_a_row_becomes_a_message_of_its_own(turns: list[tuple[str, str]]) -> None:
    text = "{% message system %}s{% endmessage %}{% for t in turns %}{% message t[0] %}{{ t[1] }}{% endmessage %}{% endfor %}"
    said = Template(text).messages({"turns": turns})
    assert [(each["role"], each["content"]) for each in said[1:]] == [(r, t.strip()) for r, t in turns]
